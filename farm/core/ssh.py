# SPDX-License-Identifier: Apache-2.0
"""SSH to a bench host: fabric and paramiko for control, the system's OpenSSH for data.

Both check the host's key strictly against the same files, and offer the same keys. fabric
reads the user's ssh_config (jump hosts, aliases) as OpenSSH does. Nothing here is async:
async code calls it in threads. Importing this module loads neither fabric nor paramiko.
"""

from __future__ import annotations

import contextlib
import logging
import select
import shlex
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from farm.core.deadline import Deadline
from farm.core.errors import BenchError
from farm.core.run import PIPE, Completed, Process, spawn
from farm.core.ssh_channel import Channel
from farm.core.ssh_errors import (
    SshEndpoint,
    changed_host_key,
    connection_cut,
    explain,
    explain_openssh,
    unknown_host_key,
)
from farm.core.ssh_forward import Forward

if TYPE_CHECKING:
    import fabric
    import paramiko

__all__ = ["Channel", "SshConnection", "SshEndpoint"]

CONNECT_TIMEOUT_S = 15
# A peer that is silently gone is noticed after this long, by both clients.
_DEAD_AFTER_S = 15
_OUTPUT_LIMIT = 16 << 20

# paramiko logs tracebacks of what is told as an error below; without a handler of the
# program's own they would go to standard error.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class SshConnection:
    """One bench host, logged in at first use or on entering the `with` block.

    Threads may share it. Once cut it stays so: make another one.
    """

    def __init__(self, endpoint: SshEndpoint) -> None:
        self.endpoint = endpoint
        self._lock = threading.RLock()
        self._fabric: fabric.Connection | None = None
        self._forwards: set[Forward] = set()

    def connect(self) -> None:
        """Log in, where that has not been done.

        Raises:
            BenchError: unreachable, host key unknown or changed, key refused, cut.
        """
        self._transport("log in")

    def __enter__(self) -> SshConnection:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that goes through this connection; no thread is left."""
        with self._lock:
            connection, self._fabric = self._fabric, None
            forwards = list(self._forwards)
        for forward in forwards:
            forward.close()
        if connection is not None:
            _close(connection)

    def run(self, argv: Sequence[str], *, timeout_s: float, input: bytes = b"") -> Completed:
        """Run a program on the host to its end; its exit code is the caller's to judge.

        Args:
            argv: the program and its arguments, quoted for the account's shell.
            timeout_s: seconds after which the channel is closed. A program that does not
                read its input lives on there: sshd ends none.
            input: bytes for its standard input.

        Raises:
            BenchError: the connection fails or is cut, no end in time, or more than 16 MiB
                of output.
        """
        step = f"run {_short(argv)}"
        channel = self._exec(argv, step)
        try:
            return self._pump(channel, tuple(argv), step, Deadline.after(timeout_s), input)
        except BenchError:
            raise
        except Exception as error:
            raise explain(self.endpoint, step, error) from error
        finally:
            channel.close()

    def open(self, argv: Sequence[str]) -> Channel:
        """Start a program on the host and return its input and output.

        Raises:
            BenchError: the connection fails or is cut.
        """
        step = f"run {_short(argv)}"
        return Channel(self.endpoint, step, self._exec(argv, step))

    @contextlib.contextmanager
    def forward(self, address: str, port: int) -> Iterator[int]:
        """Yield a port of this machine's loopback that leads to `address`:`port`.

        Args:
            address: host name or address as the bench host reaches it.
            port: TCP port there. A connection that the host cannot make is closed at once.

        Raises:
            BenchError: the login failed.
        """
        step = f"forward to {address}:{port}"
        self._transport(step)

        def open_channel() -> paramiko.Channel:
            transport = self._transport(step)
            try:
                return transport.open_channel(
                    "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S
                )
            except Exception as error:
                raise explain(self.endpoint, step, error) from error

        forward = Forward(open_channel, f"{self.endpoint.name} {address}:{port}")
        with self._lock:
            self._forwards.add(forward)
        try:
            yield forward.port
        finally:
            with self._lock:
                self._forwards.discard(forward)
            forward.close()

    def data(self, argv: Sequence[str]) -> Process:
        """Start a program on the host through the system's OpenSSH client.

        The caller writes its stdin, reads its stdout and stderr, and waits for it. Exit code
        255 is OpenSSH's own failure: give its stderr to `data_error`. A terminal's Ctrl-C does
        not reach it.

        Raises:
            MissingProgramError: OpenSSH's client is not installed.
        """
        command = [*_openssh_command(self.endpoint), _remote_command(argv)]
        return spawn(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, new_session=True)

    def data_error(self, step: str, stderr: bytes) -> BenchError:
        """What OpenSSH's client meant when it ended with 255."""
        return explain_openssh(self.endpoint, step, stderr)

    def _transport(self, step: str) -> paramiko.Transport:
        with self._lock:
            if self._fabric is None:
                self._fabric = _log_in(self.endpoint, step)
            transport: paramiko.Transport = self._fabric.transport
        if not transport.is_active():
            raise connection_cut(self.endpoint, step)
        return transport

    def _exec(self, argv: Sequence[str], step: str) -> paramiko.Channel:
        command = _remote_command(argv)
        transport = self._transport(step)
        try:
            channel = transport.open_session(timeout=CONNECT_TIMEOUT_S)
            try:
                channel.exec_command(command)
            except BaseException:
                channel.close()
                raise
        except Exception as error:
            raise explain(self.endpoint, step, error) from error
        return channel

    def _pump(
        self,
        channel: paramiko.Channel,
        argv: tuple[str, ...],
        step: str,
        deadline: Deadline,
        input: bytes,
    ) -> Completed:
        sender = threading.Thread(target=_send, args=(channel, input), daemon=True)
        sender.start()
        stdout, stderr = bytearray(), bytearray()
        try:
            while not (channel.closed or (channel.eof_received and channel.exit_status_ready())):
                if deadline.expired:
                    raise BenchError(f"{self.endpoint}: {step}: no end in time")
                select.select([channel], [], [], min(0.5, deadline.left_s))
                _drain(channel, stdout, stderr)
                if len(stdout) + len(stderr) > _OUTPUT_LIMIT:
                    raise BenchError(f"{self.endpoint}: {step}: more than 16 MiB of output")
                if channel.eof_received and not channel.exit_status_ready():
                    channel.status_event.wait(min(0.5, deadline.left_s))
            _drain(channel, stdout, stderr)
        finally:
            channel.close()  # ends a sender that is still at it
            sender.join()
        if channel.exit_status < 0 and not channel.get_transport().is_active():
            raise connection_cut(self.endpoint, step)
        return Completed(argv, channel.exit_status, bytes(stdout), bytes(stderr))


def _send(channel: paramiko.Channel, data: bytes) -> None:
    # A program may end without reading its input; that is its own affair.
    with contextlib.suppress(Exception):
        if data:
            channel.sendall(data)
        channel.shutdown_write()


def _drain(channel: paramiko.Channel, stdout: bytearray, stderr: bytearray) -> None:
    while channel.recv_ready():
        stdout += channel.recv(65536)
    while channel.recv_stderr_ready():
        stderr += channel.recv_stderr(65536)


def _log_in(endpoint: SshEndpoint, step: str) -> fabric.Connection:
    import fabric
    import paramiko

    class _Refuse(paramiko.MissingHostKeyPolicy):
        def missing_host_key(
            self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
        ) -> None:
            raise unknown_host_key(endpoint, step, key.get_name(), key.fingerprint)

    try:
        # lazy: neither fabric.yml nor, for a complete endpoint, an ssh_config is read.
        config = fabric.Config(lazy=True)
        if not endpoint.complete:
            config.load_ssh_config()
        keys: dict[str, object] = {}
        if endpoint.identity is not None:
            keys = {
                "key_filename": [str(endpoint.identity)],
                "look_for_keys": False,
                "allow_agent": False,
            }
        connection = fabric.Connection(
            endpoint.address,
            user=endpoint.user,
            port=endpoint.port if endpoint.port != 22 else None,
            config=config,
            connect_timeout=CONNECT_TIMEOUT_S,
            connect_kwargs={
                **keys,
                "banner_timeout": CONNECT_TIMEOUT_S,
                "auth_timeout": CONNECT_TIMEOUT_S,
                "channel_timeout": CONNECT_TIMEOUT_S,
            },
        )
    except Exception as error:
        raise explain(endpoint, step, error) from error
    try:
        # fabric's own policy would trust any host.
        connection.client.set_missing_host_key_policy(_Refuse())
        for file in endpoint.host_key_files():
            with contextlib.suppress(FileNotFoundError):
                connection.client.load_system_host_keys(str(file))
        connection.open()
        _notice_silence(connection.transport)
    except BaseException as error:
        _close(connection)
        if isinstance(error, paramiko.BadHostKeyException):
            raise changed_host_key(
                endpoint, step, _holder(endpoint), error.key.get_name(), error.key.fingerprint
            ) from error
        if isinstance(error, BenchError) or not isinstance(error, Exception):
            raise
        raise explain(endpoint, step, error) from error
    return connection


def _holder(endpoint: SshEndpoint) -> Path:
    """The known_hosts file that has a key for this host."""
    import paramiko

    files = endpoint.host_key_files()
    for file in files:
        with contextlib.suppress(OSError):
            if paramiko.HostKeys(str(file)).lookup(endpoint.known_hosts_name):
                return file
    return files[0]


def _notice_silence(transport: paramiko.Transport) -> None:
    transport.set_keepalive(5)
    sock = transport.sock
    if isinstance(sock, socket.socket):  # else a jump host's channel
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_S * 1000)


def _close(connection: fabric.Connection) -> None:
    transport = connection.client.get_transport()
    gateway = connection.gateway
    connection.client.close()
    if transport is not None and transport.is_alive():
        transport.join(_DEAD_AFTER_S)
    if gateway is not None and hasattr(gateway, "client"):
        _close(gateway)


def _openssh_command(endpoint: SshEndpoint) -> list[str]:
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "EscapeChar=none",
        f"ConnectTimeout={CONNECT_TIMEOUT_S}",
        "ServerAliveInterval=5",
        f"ServerAliveCountMax={_DEAD_AFTER_S // 5}",
    ]
    command = ["ssh", "-T"]
    if endpoint.complete:
        command += ["-F", "none"]
    if endpoint.known_hosts is not None:
        options.append(f"UserKnownHostsFile={_option_path(endpoint.known_hosts)}")
        options.append("GlobalKnownHostsFile=/dev/null")
    if endpoint.identity is not None:
        options.append(f"IdentityFile={_option_path(endpoint.identity)}")
        options.append("IdentitiesOnly=yes")
        options.append("IdentityAgent=none")
    if endpoint.user is not None:
        options.append(f"User={endpoint.user}")
    if endpoint.port != 22:
        options.append(f"Port={endpoint.port}")
    for option in options:
        command += ["-o", option]
    return [*command, "--", endpoint.address]


def _option_path(path: Path) -> str:
    """A path as ssh_config takes it: quoted, and without its %-tokens."""
    escaped = str(path.absolute()).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _remote_command(argv: Sequence[str]) -> str:
    if any("\0" in word for word in argv):
        raise ValueError("an argument has a NUL byte")
    return shlex.join(argv)


def _short(argv: Sequence[str]) -> str:
    text = shlex.join(argv)
    return text if len(text) <= 60 else f"{text[:57]}..."
