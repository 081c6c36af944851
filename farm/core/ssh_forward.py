# SPDX-License-Identifier: Apache-2.0
"""A port of this machine's loopback that leads to an address as a bench host reaches it."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

_log = logging.getLogger(__name__)
_CHUNK = 65536


class Forward:
    """Accepts on loopback; each connection becomes a channel opened by `open_channel`.

    Args:
        open_channel: opens one; what it raises closes the connection and is logged.
        name: for threads and log lines.
    """

    def __init__(self, open_channel: Callable[[], paramiko.Channel], name: str) -> None:
        self._open_channel = open_channel
        self._name = name
        self._lock = threading.Lock()
        self._closing = False
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def close(self) -> None:
        """Close the listener and every connection, and wait for all threads."""
        with self._lock:
            self._closing = True
            links = list(self._links)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        for link in links:
            link.close()
        while True:
            with self._lock:
                if not self._threads:
                    break
                thread = self._threads.pop()
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"forward {self._name}", daemon=True)
        with self._lock:
            self._threads = [old for old in self._threads if old.is_alive()]
            thread.start()
            self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                raise
            if self._closing:
                sock.close()
                return
            self._start(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.closing(sock):
            try:
                channel = self._open_channel()
            except Exception as error:
                _log.info("forward %s: %s", self._name, error)
                return
            link = _Link(sock, channel)
            with self._lock:
                self._links.add(link)
                closing = self._closing
            if closing:
                link.close()
            up = threading.Thread(target=link.upwards, name=f"forward {self._name} up", daemon=True)
            up.start()
            link.downwards()
            up.join()
            link.close()
            with self._lock:
                self._links.discard(link)


class _Link:
    """One connection: a socket here, a channel there; each direction ends on its own."""

    def __init__(self, sock: socket.socket, channel: paramiko.Channel) -> None:
        self._sock = sock
        self._channel = channel

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._channel.close()

    def upwards(self) -> None:
        try:
            while data := self._sock.recv(_CHUNK):
                self._channel.sendall(data)
            self._channel.shutdown_write()
        except (OSError, EOFError):
            self.close()
        except Exception as error:  # paramiko's SSHException: the channel is gone
            _log.debug("forward: %s", error)
            self.close()

    def downwards(self) -> None:
        try:
            while data := self._channel.recv(_CHUNK):
                self._sock.sendall(data)
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
        if self._channel.closed:
            # The far side is gone: nothing that comes from here can arrive any more.
            self.close()
