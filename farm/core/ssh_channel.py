# SPDX-License-Identifier: Apache-2.0
"""A program on a bench host, spoken to through one channel of the control connection."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from farm.core.errors import BenchError
from farm.core.ssh_errors import SshEndpoint, connection_cut, explain

if TYPE_CHECKING:
    import paramiko

_STDERR_KEPT = 64 << 10


class Channel:
    """Standard input and output of a running program; blocking, one reader and one writer.

    `close()` may be called from any thread and ends a blocked `read` or `write`.
    """

    def __init__(self, endpoint: SshEndpoint, step: str, channel: paramiko.Channel) -> None:
        self._endpoint = endpoint
        self._step = step
        self._channel = channel
        self._closed = False
        self._stderr = bytearray()
        self._stderr_lock = threading.Lock()
        self._reader = threading.Thread(
            target=self._keep_stderr, name=f"ssh {endpoint.name} stderr", daemon=True
        )
        self._reader.start()

    def read(self, size: int = 65536) -> bytes:
        """Return at least one byte and at most `size`; b"" when the program's output ended.

        Raises:
            BenchError: the connection was cut.
        """
        try:
            data = self._channel.recv(size)
        except Exception as error:
            if self._closed:
                return b""
            raise explain(self._endpoint, self._step, error) from error
        if not data and not self._ended_in_order():
            raise connection_cut(self._endpoint, self._step)
        return data

    def write(self, data: bytes) -> None:
        """Send all of `data` to the program.

        Raises:
            BenchError: the program has ended, or the connection was cut.
        """
        try:
            # The exit code comes before the channel's end: what is sent between is lost.
            if self._channel.exit_status_ready():
                raise EOFError
            self._channel.sendall(data)
        except Exception as error:
            if self._channel.get_transport().is_active():
                raise BenchError(
                    f"{self._endpoint}: {self._step}: the program ended: {self._last_words()}"
                ) from error
            raise connection_cut(self._endpoint, self._step) from error

    def close_input(self) -> None:
        """Tell the program that nothing more comes."""
        if not self._channel.closed:
            try:
                self._channel.shutdown_write()
            except Exception as error:
                raise connection_cut(self._endpoint, self._step) from error

    def wait(self, timeout_s: float) -> int:
        """Return the program's exit code.

        Raises:
            BenchError: it did not end in `timeout_s` seconds, or the connection was cut.
        """
        if not self._channel.status_event.wait(timeout_s):
            raise BenchError(f"{self._endpoint}: {self._step}: no end after {timeout_s:g} s")
        code = self._channel.exit_status
        if code < 0 and not self._channel.get_transport().is_active():
            raise connection_cut(self._endpoint, self._step)
        return code

    @property
    def stderr(self) -> bytes:
        """The end of what the program wrote to its standard error so far (64 KiB)."""
        with self._stderr_lock:
            return bytes(self._stderr)

    def close(self) -> None:
        """End the channel; a program that reads its input sees the end of it."""
        self._closed = True
        self._channel.close()
        self._reader.join()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ended_in_order(self) -> bool:
        if self._closed or self._channel.eof_received:
            return True
        return self._channel.get_transport().is_active() or self._channel.exit_status >= 0

    def _last_words(self) -> str:
        self._reader.join(1)  # they may still be on their way
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def _keep_stderr(self) -> None:
        while True:
            try:
                data = self._channel.recv_stderr(4096)
            except Exception:
                return
            if not data:
                return
            with self._stderr_lock:
                self._stderr += data
                del self._stderr[:-_STDERR_KEPT]
