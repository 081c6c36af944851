# SPDX-License-Identifier: Apache-2.0
"""SSH against a real OpenSSH server: programs, channels, forwards, data."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.core.errors import BenchError
from farm.core.run import run
from farm.core.ssh import SshConnection, SshEndpoint
from tests.relay import relay
from tests.sshd import Sshd

NASTY = ["a b", "$HOME", "`id`", "'", '"', "\\", "a\nb", "*", "", "ü€", "-n", ";exit 3", "!x"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t.name for t in set(threading.enumerate()) - before if "_keep_log" not in t.name]
    assert not left


@pytest.fixture
def connection(sshd: Sshd) -> Iterator[SshConnection]:
    with SshConnection(sshd.endpoint) as made:
        yield made


def test_arguments_arrive_as_they_are(connection: SshConnection) -> None:
    done = connection.run(["printf", "%s\\0", *NASTY], timeout_s=10)
    assert done.returncode == 0
    assert done.stdout.decode().split("\0")[:-1] == NASTY


def test_input_output_errors_and_exit_code(connection: SshConnection) -> None:
    script = "import sys; d=sys.stdin.buffer.read(); sys.stdout.buffer.write(d[::-1])"
    script += "; sys.stderr.write('e' * 300000); sys.exit(7)"
    data = bytes(range(256)) * 20000
    done = connection.run(["/usr/bin/python3", "-c", script], timeout_s=30, input=data)
    assert (done.returncode, done.stdout, done.stderr) == (7, data[::-1], b"e" * 300000)


def test_a_program_that_ignores_its_input_is_no_error(connection: SshConnection) -> None:
    done = connection.run(["true"], timeout_s=10, input=bytes(8 << 20))
    assert done.returncode == 0


def test_no_end_in_time(connection: SshConnection) -> None:
    with pytest.raises(BenchError, match=r"throwaway.*run sleep 1000.*no end in time"):
        connection.run(["sleep", "1000"], timeout_s=0.3)
    assert connection.run(["echo", "still here"], timeout_s=10).stdout == b"still here\n"


def test_output_is_bounded(connection: SshConnection) -> None:
    with pytest.raises(BenchError, match="more than 16 MiB"):
        connection.run(["cat", "/dev/zero"], timeout_s=60)


def test_a_nul_byte_is_refused(connection: SshConnection) -> None:
    with pytest.raises(ValueError, match="NUL"):
        connection.run(["echo", "a\0b"], timeout_s=1)


def test_channel(connection: SshConnection) -> None:
    with connection.open(["sh", "-c", "echo hi >&2; cat; exit 5"]) as channel:
        channel.write(b"ping")
        assert channel.read() == b"ping"
        channel.close_input()
        assert channel.read() == b""
        assert channel.wait(10) == 5
        assert channel.stderr == b"hi\n"


def test_closing_a_channel_ends_a_blocked_read_and_the_program(
    connection: SshConnection, sshd: Sshd
) -> None:
    channel = connection.open(["cat"])
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(channel.read()))
    reader.start()
    channel.close()
    reader.join(10)
    assert got == [b""]
    assert connection.run(["true"], timeout_s=10).returncode == 0


def test_writing_to_a_program_that_ended(connection: SshConnection) -> None:
    with connection.open(["sh", "-c", "echo no >&2; exit 1"]) as channel:
        assert channel.wait(10) == 1
        assert channel.read() == b""
        with pytest.raises(BenchError, match="the program ended: no"):
            channel.write(b"x")


def test_data_takes_the_same_keys(connection: SshConnection) -> None:
    process = connection.data(["sh", "-c", 'cat; printf %s "$1" >&2', "x", "a b"])
    out, err = process.communicate(bytes(range(256)) * 4000)
    assert out == bytes(range(256)) * 4000
    assert err == b"a b"
    assert process.returncode == 0


@contextlib.contextmanager
def _echo_server() -> Iterator[int]:
    """Answers each connection with what it sent, after its end, in capitals."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def serve(sock: socket.socket) -> None:
        with sock:
            data = b"".join(iter(lambda: sock.recv(65536), b""))
            with contextlib.suppress(OSError):
                sock.sendall(data.upper())

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(sock,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for thread in threads:
            thread.join()
        listener.close()


def _ask(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_forward(connection: SshConnection) -> None:
    with _echo_server() as behind, connection.forward("127.0.0.1", behind) as port:
        assert _ask(port, b"hello") == b"HELLO"
        big = b"abcdefgh" * 100_000
        answers: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: answers.append(_ask(port, big))) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [big.upper()] * 5


def test_forward_ends_with_connections_open(connection: SshConnection) -> None:
    with _echo_server() as behind:
        with connection.forward("127.0.0.1", behind) as port:
            sock = socket.create_connection(("127.0.0.1", port), timeout=20)
            sock.sendall(b"x")
        with sock, contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) in (b"", b"X")
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_forward_to_nothing_is_closed_at_once(connection: SshConnection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nothing = taken.getsockname()[1]
    with connection.forward("127.0.0.1", nothing) as port:
        sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        with sock, contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""


def test_closing_the_connection_closes_its_forwards(sshd: Sshd) -> None:
    connection = SshConnection(sshd.endpoint)
    with _echo_server() as behind, connection.forward("127.0.0.1", behind) as port:
        sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        connection.close()
        with sock, contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""


def test_a_cut_ends_everything_that_goes_through(sshd: Sshd) -> None:
    with relay(sshd.port) as between:
        connection = SshConnection(sshd.through(between.port))
        with connection, connection.open(["cat"]) as channel:
            channel.write(b"x")
            assert channel.read() == b"x"
            between.close()
            with pytest.raises(BenchError, match=r"throwaway.*run cat.*connection cut"):
                channel.read()
            with pytest.raises(BenchError, match="connection cut"):
                channel.write(b"y")
            with pytest.raises(BenchError, match=r"run true.*connection cut"):
                connection.run(["true"], timeout_s=5)


def test_a_cut_while_a_program_runs(sshd: Sshd) -> None:
    with relay(sshd.port) as between, SshConnection(sshd.through(between.port)) as connection:
        begun = threading.Event()

        def cut() -> None:
            begun.wait(10)
            between.close()

        cutter = threading.Thread(target=cut)
        cutter.start()
        with pytest.raises(BenchError, match="connection cut"):
            begun.set()
            connection.run(["sleep", "1000"], timeout_s=60)
        cutter.join()


def test_an_alias_of_ssh_config_is_followed(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(
        f"Host lab\n  HostName 127.0.0.1\n  Port {sshd.port}\n"
        f"  User {sshd.endpoint.user}\n  IdentityFile {sshd.endpoint.identity}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    sshd.trust(tmp_path / ".ssh/known_hosts")
    with SshConnection(SshEndpoint("lab", "lab")) as connection:
        assert connection.run(["echo", "here"], timeout_s=10).stdout == b"here\n"


def test_importing_loads_neither_fabric_nor_paramiko() -> None:
    code = (
        "import farm.core.ssh, sys; print([m for m in ('fabric', 'paramiko') if m in sys.modules])"
    )
    assert run([sys.executable, "-c", code]).stdout == b"[]\n"
