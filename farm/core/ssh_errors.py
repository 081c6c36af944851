# SPDX-License-Identifier: Apache-2.0
"""What paramiko, the sockets and OpenSSH say when SSH fails, told as `BenchError`s.

Every message names the host and the step; every hint says what to do about it.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from farm.core.errors import BenchError, UserError
from farm.core.run import paste

_FORBIDDEN = set(" \t\r\n\0\"'\\$`;&|<>(){}*?!#")


@dataclass(frozen=True)
class SshEndpoint:
    """A bench host, and how to log in there.

    Args:
        name: what people call the host.
        address: host name or address; a name may be an alias in the user's ssh_config.
        port: TCP port of its SSH server.
        user: account; None for what ssh_config says, else the local user's name.
        identity: private key file; None for the agent's keys and the default files.
        known_hosts: the one file of host keys to trust; None for the user's and the system's.

    An endpoint with both `identity` and `known_hosts` is complete: no ssh_config is read.

    Raises:
        UserError: address or user are no plain words (they stand on ssh's command line).
    """

    name: str
    address: str
    port: int = 22
    user: str | None = None
    identity: Path | None = None
    known_hosts: Path | None = None

    def __post_init__(self) -> None:
        for what, word in (("address", self.address), ("user", self.user)):
            if word is not None and (not word or word[0] == "-" or _FORBIDDEN & set(word)):
                raise UserError(f"bench host {self.name}: {what} {word!r} is no plain word")

    @property
    def complete(self) -> bool:
        """Whether nothing is left for an ssh_config to say."""
        return self.identity is not None and self.known_hosts is not None

    @property
    def known_hosts_name(self) -> str:
        """What the host is called in a known_hosts file."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"

    def host_key_files(self) -> tuple[Path, ...]:
        """The known_hosts files that are asked, in order, existing or not."""
        if self.known_hosts is not None:
            return (self.known_hosts,)
        return (Path.home() / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts"))

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"bench host {self.name} ({user}{self.address}:{self.port})"


def unknown_host_key(endpoint: SshEndpoint, step: str, key_type: str, print_: str) -> BenchError:
    """The server's key is in no known_hosts file."""
    file = endpoint.host_key_files()[0]
    scan = paste(["ssh-keyscan", "-p", str(endpoint.port), endpoint.address])
    return BenchError(
        f"{endpoint}: {step}: host key unknown: the server shows {key_type} {print_}, "
        f"and {file} has no key for {endpoint.known_hosts_name}",
        hint=f"if that fingerprint is the host's own: {scan} >> {paste([file])}",
    )


def changed_host_key(
    endpoint: SshEndpoint, step: str, file: Path, key_type: str, print_: str
) -> BenchError:
    """The server's key is not the one on file."""
    remove = paste(["ssh-keygen", "-f", file, "-R", endpoint.known_hosts_name])
    return BenchError(
        f"{endpoint}: {step}: host key changed: {file} has another key for "
        f"{endpoint.known_hosts_name} than the server shows ({key_type} {print_}); "
        "nothing was sent to it",
        hint="either somebody answers in the host's place, or it was installed anew; "
        f"if it was, remove the old key: {remove}",
    )


def unreachable(endpoint: SshEndpoint, step: str, why: str) -> BenchError:
    """No SSH server could be spoken to."""
    return BenchError(
        f"{endpoint}: {step}: unreachable: {why}",
        hint="is it switched on and on the network, are address and port right? try: "
        + paste(["ssh", "-p", str(endpoint.port), _login(endpoint), "true"]),
    )


def refused_key(endpoint: SshEndpoint, step: str, why: str) -> BenchError:
    """The server knows none of the keys that were offered."""
    if endpoint.identity is not None:
        offered = f"the key {endpoint.identity}"
        copy = ["ssh-copy-id", "-i", str(endpoint.identity)]
    else:
        offered = "every key of the agent and of the default files"
        copy = ["ssh-copy-id"]
    return BenchError(
        f"{endpoint}: {step}: refused key: the server refused {offered} ({why})",
        hint="put its public half into the account's authorized_keys: "
        + paste([*copy, "-p", str(endpoint.port), _login(endpoint)]),
    )


def connection_cut(endpoint: SshEndpoint, step: str, why: str = "") -> BenchError:
    """The connection was there and is gone."""
    return BenchError(
        f"{endpoint}: {step}: connection cut" + (f": {why}" if why else ""),
        hint="look at the host and the network, then run the same command again",
    )


def explain(endpoint: SshEndpoint, step: str, error: BaseException) -> BenchError:
    """Tell what an exception of paramiko, fabric or a socket means.

    Host key errors that carry keys are told by `unknown_host_key` and `changed_host_key`.
    """
    import paramiko

    why = _first_line(error)
    if isinstance(error, socket.gaierror):
        return unreachable(endpoint, step, f"no address for {endpoint.address!r} ({why})")
    if isinstance(error, paramiko.PasswordRequiredException):
        return BenchError(
            f"{endpoint}: {step}: the key file is encrypted and no agent has it",
            hint=paste(["ssh-add", *([str(endpoint.identity)] if endpoint.identity else [])]),
        )
    if isinstance(error, paramiko.AuthenticationException):
        return refused_key(endpoint, step, why)
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        return unreachable(endpoint, step, "nothing listens at that port")
    if isinstance(error, paramiko.ChannelException):
        return BenchError(
            f"{endpoint}: {step}: the server refused a channel: {why}",
            hint="see MaxSessions and AllowTcpForwarding in the host's sshd_config, "
            "and whether what is asked for listens there",
        )
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return BenchError(f"{endpoint}: {step}: {error.filename}: {error.strerror}")
    if isinstance(error, TimeoutError):
        return unreachable(endpoint, step, "no answer in time")
    if isinstance(error, ConnectionResetError | BrokenPipeError | EOFError):
        return connection_cut(endpoint, step, why)
    if isinstance(error, OSError):
        return unreachable(endpoint, step, error.strerror or why)
    if isinstance(error, paramiko.SSHException):
        return _explain_protocol(endpoint, step, why)
    return BenchError(f"{endpoint}: {step}: {type(error).__name__}: {why}")


def explain_openssh(endpoint: SshEndpoint, step: str, stderr: bytes) -> BenchError:
    """Tell what OpenSSH's client means by its standard error, after it ended with 255."""
    text = stderr.decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    why = lines[-1] if lines else "no message"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text:
        file, key_type, print_ = _openssh_key(text)
        found = Path(file) if file else endpoint.host_key_files()[0]
        return changed_host_key(endpoint, step, found, key_type, print_)
    if "host key is known" in text or "Host key verification failed" in text:
        _, key_type, print_ = _openssh_key(text)
        return unknown_host_key(endpoint, step, key_type, print_)
    if "Permission denied" in text and "publickey" in text:
        return refused_key(endpoint, step, why)
    if any(word in text for word in ("Could not resolve", "Connection refused", "No route to")):
        return unreachable(endpoint, step, why)
    if "Connection timed out" in text or "Operation timed out" in text:
        return unreachable(endpoint, step, why)
    return connection_cut(endpoint, step, why)


def _openssh_key(text: str) -> tuple[str, str, str]:
    """File, type and fingerprint out of OpenSSH's words on a host key; empty where unsaid."""
    file = key_type = print_ = ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("Offending ") and " key in " in line:
            file = line.split(" key in ", 1)[1].rpartition(":")[0]
        for word in words:
            if word.startswith("SHA256:"):
                print_ = word.rstrip(".")
        if line.startswith("The fingerprint for the "):
            key_type = words[4]
        if line.startswith("No ") and " host key is known" in line:
            key_type = words[1]
    return file, key_type or "a key", print_ or "(see ssh -v)"


def _explain_protocol(endpoint: SshEndpoint, step: str, why: str) -> BenchError:
    if "banner" in why or "No existing session" in why:
        return unreachable(endpoint, step, f"what answers there speaks no SSH, or late ({why})")
    if "private key" in why or "key type" in why.lower():
        return BenchError(
            f"{endpoint}: {step}: {endpoint.identity or 'a key file'}: no usable private key: {why}"
        )
    if any(word in why for word in ("not active", "EOF", "closed", "Timeout", "not open")):
        return connection_cut(endpoint, step, why)
    return BenchError(f"{endpoint}: {step}: SSH failed: {why}")


def _login(endpoint: SshEndpoint) -> str:
    return f"{endpoint.user}@{endpoint.address}" if endpoint.user else endpoint.address


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
