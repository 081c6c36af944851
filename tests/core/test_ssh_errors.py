# SPDX-License-Identifier: Apache-2.0
"""Every way in which a login fails, by both clients, against a real OpenSSH server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from farm.core import ssh
from farm.core.errors import BenchError, ExitCode, UserError
from farm.core.run import run
from farm.core.ssh import SshConnection, SshEndpoint
from farm.core.ssh_errors import explain, explain_openssh
from tests.relay import relay
from tests.sshd import Sshd, make_key

Login = Callable[[SshEndpoint], BenchError]


def _by_paramiko(endpoint: SshEndpoint) -> BenchError:
    with pytest.raises(BenchError) as caught:
        SshConnection(endpoint).connect()
    return caught.value


def _by_openssh(endpoint: SshEndpoint) -> BenchError:
    connection = SshConnection(endpoint)
    process = connection.data(["true"])
    _, stderr = process.communicate()
    assert process.returncode == 255, stderr
    return connection.data_error("log in", stderr)


both = pytest.mark.parametrize("login", [_by_paramiko, _by_openssh])


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def _says(error: BenchError, *words: str) -> None:
    text = f"{error.message}\n{error.hint}"
    assert error.exit_code == ExitCode.BENCH
    assert "throwaway" in error.message and "log in" in error.message
    assert error.hint
    for word in words:
        assert word in text, text


@both
def test_nothing_listens(sshd: Sshd, login: Login) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    _says(login(replace(sshd.endpoint, port=port)), "unreachable")


@both
def test_no_such_name(sshd: Sshd, login: Login) -> None:
    _says(login(replace(sshd.endpoint, address="no-such-host.invalid")), "unreachable")


@both
def test_refused_key(sshd: Sshd, login: Login, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    endpoint = replace(sshd.endpoint, identity=tmp_path / "other")
    _says(login(endpoint), "refused key", str(tmp_path / "other"), "authorized_keys", "ssh-copy-id")


@both
def test_unknown_host_key(sshd: Sshd, login: Login, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    error = login(replace(sshd.endpoint, known_hosts=empty))
    _says(error, "host key unknown", str(empty), "ssh-keyscan")
    error = login(replace(sshd.endpoint, known_hosts=tmp_path / "absent"))
    _says(error, "host key unknown")


@both
def test_changed_host_key_and_its_advice(sshd: Sshd, login: Login, tmp_path: Path) -> None:
    make_key(tmp_path / "old")
    file = tmp_path / "known hosts"
    sshd.trust(file, key=tmp_path / "old")
    error = login(replace(sshd.endpoint, known_hosts=file))
    _says(error, "host key changed", str(file), "SHA256:", "ssh-keygen -f")
    assert error.hint is not None
    command = error.hint[error.hint.index("ssh-keygen") :]
    run(["sh", "-c", command])
    assert not file.read_text().strip()


def test_the_fingerprint_is_the_servers(sshd: Sshd, tmp_path: Path) -> None:
    error = _by_paramiko(replace(sshd.endpoint, known_hosts=tmp_path / "absent"))
    shown = run(["ssh-keygen", "-lf", sshd.folder / "host_key.pub"]).stdout.decode().split()[1]
    assert shown in error.message


@both
def test_cut_while_logging_in(sshd: Sshd, login: Login) -> None:
    with relay(sshd.port, after=1200) as between:
        error = login(sshd.through(between.port))
    _says(error, "cut")


def test_an_encrypted_key(sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "secret", passphrase="open sesame")
    _says(_by_paramiko(replace(sshd.endpoint, identity=tmp_path / "secret")), "ssh-add")


@pytest.mark.parametrize("content", [None, "", "no key\n"])
def test_an_unusable_key_file(sshd: Sshd, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    error = _by_paramiko(replace(sshd.endpoint, identity=file))
    assert "throwaway" in error.message and str(file) in error.message


def _answers(greeting: bytes) -> contextlib.AbstractContextManager[int]:
    @contextlib.contextmanager
    def serving() -> Iterator[int]:
        listener = socket.create_server(("127.0.0.1", 0))
        kept: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    kept.append(sock)
                    sock.sendall(greeting)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for sock in (listener, *kept):
                sock.close()

    return serving()


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40])
def test_what_answers_is_no_ssh_server(
    sshd: Sshd, greeting: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 1)
    with _answers(greeting) as port:
        _says(_by_paramiko(replace(sshd.endpoint, port=port)), "unreachable")


def test_too_many_sessions(tmp_path: Path) -> None:
    with (
        Sshd.start(tmp_path / "sshd", "MaxSessions 1") as server,
        SshConnection(server.endpoint) as connection,
        connection.open(["cat"]),
    ):
        with pytest.raises(BenchError, match="refused a channel") as caught:
            connection.run(["true"], timeout_s=10)
        assert "MaxSessions" in (caught.value.hint or "")


@pytest.mark.parametrize("word", ["-oProxyCommand=id", "a b", "", "a;b", "$(id)"])
def test_words_for_the_command_line_are_checked(word: str) -> None:
    with pytest.raises(UserError, match="plain word"):
        SshEndpoint("x", word)
    with pytest.raises(UserError, match="plain word"):
        SshEndpoint("x", "host", user=word)


def _paramiko_errors() -> list[type[Exception]]:
    found = []
    todo: list[type[Exception]] = [paramiko.SSHException]
    while todo:
        error = todo.pop()
        found.append(error)
        todo += error.__subclasses__()
    return found


@pytest.mark.parametrize(
    "kind", [*_paramiko_errors(), OSError, EOFError, TimeoutError, socket.gaierror, ValueError]
)
def test_every_foreign_error_has_a_message(kind: type[Exception]) -> None:
    made = explain(SshEndpoint("lab", "host"), "log in", _made(kind))
    assert isinstance(made, BenchError)
    assert "lab" in made.message and "log in" in made.message


def _made(kind: type[Exception]) -> Exception:
    """An instance; some of paramiko's errors take more than a text."""
    key = paramiko.RSAKey.generate(1024)
    arguments: dict[str, tuple[object, ...]] = {
        "AuthFailure": ([],),
        "BadAuthenticationType": ("text", ["password"]),
        "BadHostKeyException": ("host", key, key),
        "ChannelException": (1, "text"),
        "ProxyCommandFailure": ("command", 1),
    }
    return kind(*arguments.get(kind.__name__, ("text",)))


def test_openssh_without_a_word() -> None:
    made = explain_openssh(SshEndpoint("lab", "host"), "flash", b"")
    assert "connection cut" in made.message
