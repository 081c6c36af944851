# SPDX-License-Identifier: Apache-2.0
"""A TCP relay on loopback that cuts a connection after so many bytes, for tests."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Literal

How = Literal["reset", "close", "silent", "hold"]


class Relay:
    """Passes connections on to `port`; counts what goes upwards (to the server).

    Attributes:
        port: where it listens.
        sent, received: bytes passed upwards and downwards so far, over all connections.
        cut: set once the connection has been cut or held.
        go: set it to let a held connection go on.
    """

    def __init__(self, port: int, after: int | None, how: How) -> None:
        self._to = port
        self._after = after
        self._how = how
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = self.received = 0
        self.cut = threading.Event()
        self.go = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [client, server]
            self._start(self._pass, client, server, True)
            self._start(self._pass, server, client, False)

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        try:
            while data := source.recv(16384):
                if up and self._after is not None and self.sent + len(data) >= self._after:
                    if self._how == "hold":
                        self.cut.set()
                        self.go.wait()
                        self._after = None
                        sink.sendall(data)
                        continue
                    sink.sendall(data[: self._after - self.sent])
                    self.sent = self._after
                    self._cut(source, sink)
                    return
                if self.cut.is_set() and self._how != "hold":
                    return
                sink.sendall(data)
                self.sent += len(data) * up
                self.received += len(data) * (not up)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _cut(self, *ends: socket.socket) -> None:
        self.cut.set()
        if self._how == "silent":
            return
        for end in ends:
            with contextlib.suppress(OSError):
                if self._how == "close":
                    end.shutdown(socket.SHUT_RDWR)
                    continue
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # wakes the other thread, sends nothing
                end.close()

    def close(self) -> None:
        """End all connections."""
        self.go.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextlib.contextmanager
def relay(port: int, *, after: int | None = None, how: How = "reset") -> Iterator[Relay]:
    """A relay to loopback's `port`.

    Args:
        after: cut once so many bytes have gone upwards; None for never.
        how: a reset, an orderly close, silence with the connection left open; or hold, which
            keeps back what goes upwards until `go`.
    """
    passing = Relay(port, after, how)
    try:
        yield passing
    finally:
        passing.close()
