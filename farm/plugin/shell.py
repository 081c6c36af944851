# SPDX-License-Identifier: Apache-2.0
"""Running commands on a board: by SSH where it has a network, else on its console's shell."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from farm.core.errors import BenchError
from farm.core.ssh import SshConnection, SshEndpoint
from farm.smoke.kernel import stamped

if TYPE_CHECKING:
    from farm.plugin.console import BoardConsole
    from farm.plugin.session import BoardSession

SSH_PORT = 22
GETTY = "farm/getty"
_KEY_TIMEOUT_S = 30.0
# Components that offer a shell see the system's root below /host: what is run there is run where
# init runs. Another image's shell is taken as it is.
_WHERE_INIT_IS = (
    'if [ -x /host/usr/bin/busybox ]; then exec chroot /host /usr/bin/busybox sh -c "$0"; fi; '
    'exec sh -c "$0"'
)


class NoShellError(Exception):
    """The board offers no way to run a command; the message says why."""


@dataclass(frozen=True)
class ShellResult:
    """A command that has ended.

    Args:
        command: as it was given.
        stdout: what it wrote; on a console, with what it wrote to standard error.
        returncode: its exit code.
    """

    command: str
    stdout: str
    returncode: int


class Shell(Protocol):
    """Runs commands on the board."""

    def run(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        """Run a line of the board's shell to its end; its exit code is the test's to judge.

        Raises:
            FarmError: it did not end in time, or the board is gone.
        """


@contextlib.contextmanager
def open_shell(session: BoardSession) -> Iterator[Shell]:
    """Log in to the board.

    Raises:
        NoShellError: there is no way.
        BenchError: there should be one, and it fails.
    """
    record = session.record
    services = record.services if record else ()
    skipped = {one.name for one in session.verdict.skipped}
    ssh = next((one for one in services if SSH_PORT in one.ports), None)
    if ssh is not None and ssh.name not in skipped and f"{ssh.name}:{SSH_PORT}" not in skipped:
        if session.order.identity is None and not _has_key():
            raise NoShellError(
                f"no shell on {session.target}: this user has no SSH key: `ssh-keygen -t ed25519`,"
                " then build again with it in the assembly's files"
            )
        with _by_ssh(session) as shell:
            yield shell
    elif any(one.image == GETTY for one in services):
        yield _ConsoleShell(session.console)
    else:
        why = "it has no network here" if ssh is not None else "it has no sshd"
        raise NoShellError(
            f"no shell on {session.target}: {why}, and its assembly has no service of {GETTY}"
        )


def _has_key() -> bool:
    """Whether this user has anything to log in with: an agent, or a key of a usual name."""
    if os.environ.get("SSH_AUTH_SOCK"):
        return True
    return any((Path.home() / ".ssh").glob("id_*"))


@dataclass(frozen=True)
class _SshShell:
    connection: SshConnection

    def run(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        done = self.connection.run(("sh", "-c", _WHERE_INIT_IS, command), timeout_s=timeout_s)
        return ShellResult(command, done.stdout.decode(errors="replace"), done.returncode)


@contextlib.contextmanager
def _by_ssh(session: BoardSession) -> Iterator[Shell]:
    """Log in as root. The board's key is taken as it is offered: it was made in this boot, and
    the way there is the bench's own."""
    address, port = session.endpoint(SSH_PORT)
    with tempfile.TemporaryDirectory(prefix="farm-hil-") as folder:
        known = Path(folder) / "known_hosts"
        known.write_text(_host_key(session.target, address, port))
        endpoint = SshEndpoint(
            name=session.target,
            address=address,
            port=port,
            user="root",
            identity=session.order.identity,
            known_hosts=known,
        )
        with SshConnection(endpoint) as connection:
            yield _SshShell(connection)


def _host_key(target: str, address: str, port: int) -> str:
    """Ask an SSH server for its key; return it as a line of known_hosts."""
    import paramiko

    try:
        with socket.create_connection((address, port), _KEY_TIMEOUT_S) as sock:
            transport = paramiko.Transport(sock)
            transport.banner_timeout = _KEY_TIMEOUT_S
            try:
                transport.start_client(timeout=_KEY_TIMEOUT_S)
                key = transport.get_remote_server_key()
            finally:
                transport.close()
                transport.join(_KEY_TIMEOUT_S)
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise BenchError(f"{target}: ssh: no host key was offered: {error}") from error
    return f"[{address}]:{port} {key.get_name()} {key.get_base64()}\n"


class _ConsoleShell:
    """Types commands at a console that has a shell, and finds their output between marks.

    The kernel's lines, which come at any time, are left out.
    """

    def __init__(self, console: BoardConsole) -> None:
        self._console = console

    def run(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        if "\n" in command:
            raise ValueError("a command on a console is one line")
        word = secrets.token_hex(4)
        typed = shlex.join(("sh", "-c", _WHERE_INIT_IS, command))
        # The console echoes what is typed, so the marks are put together by the shell.
        self._console.read()
        self._console.send(
            f"printf 'farm-%s-begin\\n' {word}; {typed} 2>&1; "
            f"printf '\\nfarm-%s-end %d\\n' {word} $?\n"
        )
        self._console.expect(rf"farm-{word}-begin *$", timeout_s=timeout_s)
        found = self._console.expect(
            rf"(?s:\n(.*?))\nfarm-{word}-end (\d+) *$", timeout_s=timeout_s
        )
        lines = [line for line in found[1].split("\n") if not stamped(line)]
        return ShellResult(command, _trimmed("\n".join(lines)), int(found[2]))


def _trimmed(text: str) -> str:
    """Output as SSH would give it: the end mark begins a line of its own."""
    return text if not text or text.endswith("\n") else text + "\n"
