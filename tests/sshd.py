# SPDX-License-Identifier: Apache-2.0
"""A real, throw-away OpenSSH server on loopback, for tests.

In a folder's conftest.py: `from tests.sshd import sshd as sshd`, then ask for the fixture
`sshd`; or `with Sshd.start(folder) as server:` for one with other settings.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm.core.run import PIPE, Process, run, spawn
from farm.core.ssh import SshEndpoint

# SHLVL: Debian's bash then skips ~/.bashrc, which may be slow and another Python's home.
_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv SHLVL=2
ClientAliveInterval 2
ClientAliveCountMax 3
MaxStartups 100:30:200
MaxSessions 50
LogLevel VERBOSE
"""


class Sshd:
    """A running server.

    Attributes:
        endpoint: complete: host and client key are known to both sides.
        folder: keys, `known_hosts`, `authorized_keys`, `sshd_config`.
    """

    def __init__(self, folder: Path, port: int, process: Process) -> None:
        self.folder = folder
        self.port = port
        self.process = process
        self.endpoint = SshEndpoint(
            name="throwaway",
            address="127.0.0.1",
            port=port,
            user=pwd.getpwuid(os.getuid()).pw_name,
            identity=folder / "client_key",
            known_hosts=folder / "known_hosts",
        )
        self._log: list[bytes] = []

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path, extra: str = "") -> Iterator[Sshd]:
        """Start a server with keys of its own in `folder`.

        Args:
            folder: an empty or absent folder.
            extra: more lines of sshd_config; the first value of a keyword wins.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("host_key", "client_key"):
            make_key(folder / name)
        (folder / "authorized_keys").write_text((folder / "client_key.pub").read_text())
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # privilege separation, in a container
        server = cls._listen(folder, extra)
        drain = threading.Thread(target=server._keep_log, daemon=True)
        drain.start()
        try:
            yield server
        finally:
            left = server.descendants()
            server.process.terminate()
            server.process.wait()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            drain.join()
            assert server.process.stderr is not None
            server.process.stderr.close()

    @classmethod
    def _listen(cls, folder: Path, extra: str) -> Sshd:
        for _ in range(5):
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            config = folder / "sshd_config"
            config.write_text(extra + "\n" + _CONFIG.format(port=port, folder=folder))
            process = spawn(["sshd", "-D", "-e", "-f", str(config)], stderr=PIPE)
            server = cls(folder, port, process)
            assert process.stderr is not None
            for line in process.stderr:
                server._log.append(line)
                if b"Server listening" in line:
                    server.trust(folder / "known_hosts")
                    return server
            process.wait()
            process.stderr.close()
        raise RuntimeError("sshd does not start: " + b"".join(server._log).decode())

    def trust(self, known_hosts: Path, key: Path | None = None, port: int | None = None) -> None:
        """Write a known_hosts file that names `key` (the server's own) for this server."""
        public = (key or self.folder / "host_key").with_suffix(".pub").read_text()
        known_hosts.write_text(f"[127.0.0.1]:{port or self.port} {public}")

    def through(self, port: int) -> SshEndpoint:
        """The endpoint of the same server as reached through a relay at `port`."""
        known_hosts = self.folder / f"known_hosts.{port}"
        self.trust(known_hosts, port=port)
        return replace(self.endpoint, port=port, known_hosts=known_hosts)

    def log(self) -> str:
        """What the server has said so far."""
        return b"".join(self._log).decode(errors="replace")

    def descendants(self) -> list[int]:
        """Process ids of everything that was started by logins here and still runs."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "stat").read_text().rpartition(")")[2].split()
                    if words[0] != "Z":
                        parents.setdefault(int(words[1]), []).append(int(entry.name))
        found: list[int] = []
        todo = [self.process.pid]
        while todo:
            children = parents.get(todo.pop(), [])
            found += children
            todo += children
        return found

    def _keep_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._log.append(line)


def make_key(path: Path, passphrase: str = "") -> None:
    """Make a key pair at `path` and `path`.pub."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", path])


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A running server with fresh keys."""
    with Sshd.start(tmp_path / "sshd") as server:
        yield server
