# SPDX-License-Identifier: Apache-2.0
"""`farm bench up`, `down`, and what state a virtual bench is in.

A bench lives in `STATE/bench/NAME/KEY`, the key made of its file's path: benches of one name in
two projects are two. What runs is known from locks and from /proc, never from files alone: a
killed agent, or a reboot, leaves nothing that the next command trips over. Where an agent runs,
nothing is ended while somebody has a target of it, or while it cannot say so, but by `force`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from farm.bench.connect import all_leased, ping
from farm.bench.errors import BusyError
from farm.bench.host_files import (
    AGENT,
    FreePorts,
    VirtualHostFiles,
    VirtualHostPlan,
    write_host_files,
)
from farm.bench.process_table import (
    ProcessInfo,
    descendants,
    end_process,
    own_processes,
    process,
    users_of_port,
)
from farm.core.deadline import Deadline
from farm.core.errors import BenchError, FarmError, UserError
from farm.core.files import locked, write_text
from farm.core.places import socket_dir, state_dir
from farm.core.progress import Reporter
from farm.core.run import find_program, run
from farm.spec.bench import Bench, LoopbackHost, VirtualTarget
from farm.spec.board import Board
from farm.spec.project import Project

_ANSWER_S = 10.0
_START_S = 60.0
_GRACE_S = 5.0
_FORCED_S = 2.0
_POLL_S = 0.2
_STOP_S = 15.0
_ATTEMPTS = 3
_HEAD = "# Written by `farm bench up`: the bench as it runs. `farm bench down` removes it.\n"
_PROGRAMS = ("sshd", "ssh-keygen", "ser2net", "fdtput")
_OURS = ("sshd", "ser2net", "setpriv", "qemu-system-")


@dataclass(frozen=True)
class BenchState:
    """What state a bench is in.

    Args:
        name: the bench's.
        word: "up", "down", or "broken" where a part of it is left.
        why: what is wrong with a broken one, "" else.
        file: the bench file that clients load, where it is up.
    """

    name: str
    word: str
    why: str
    file: Path


def bench_folder(bench: Bench, path: Path) -> Path:
    """Return the folder of a bench of a file: what `open_bench` is given as `state`."""
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    return state_dir() / "bench" / bench.name / key


def bench_up(
    bench: Bench, path: Path, project: Project, reporter: Reporter, *, force: bool = False
) -> BenchState:
    """Start a bench's virtual hosts; one that is up already is used as it is.

    Args:
        bench: the bench.
        path: its file.
        project: where its boards' definitions are looked for.
        reporter: told what is done.
        force: start a broken one anew although somebody has a target of it.

    Raises:
        UserError: it has no virtual host, or a board does not exist or has no stand-in.
        BusyError: it is broken, and somebody has a target of it.
        BenchError: something does not start, or it is up with another description.
    """
    boards = _boards(bench, path, project)
    folder = bench_folder(bench, path)
    description = _description(bench, boards)
    with locked(folder / "up.lock"):
        state = _state(bench, folder)
        if state.word == "up":
            if _read(folder / "description.json") != description:
                raise BenchError(
                    f"bench {bench.name}: is up, as {path.name} was before it was changed",
                    hint="farm bench down && farm bench up",
                )
            reporter.note(f"bench {bench.name}: is up already")
            return state
        if state.word == "broken":
            reporter.note(f"bench {bench.name}: {state.why}: it is cleaned up and started anew")
        _stop_unused(bench, folder, "farm bench up", reporter, force=force)
        with reporter.task(f"bench {bench.name}: start"):
            _start(bench, boards, folder)
        write_text(folder / "description.json", description)
        return BenchState(bench.name, "up", "", folder / "bench.yml")


def bench_down(bench: Bench, path: Path, reporter: Reporter, *, force: bool = False) -> bool:
    """End all of a bench's virtual hosts and what is left of them; cards and logs are kept.

    Args:
        bench, path: the bench and its file.
        reporter: told what is done.
        force: also while somebody has a target of it.

    Returns:
        whether anything ran.

    Raises:
        BusyError: somebody has a target of it.
        BenchError: its agent does not say whether somebody has.
    """
    folder = bench_folder(bench, path)
    if not folder.exists():
        reporter.note(f"bench {bench.name}: is not up")
        return False
    with locked(folder / "up.lock"):
        ran = _stop_unused(bench, folder, "farm bench down", reporter, force=force)
    reporter.note(f"bench {bench.name}: is down" if ran else f"bench {bench.name}: was not up")
    return ran


def bench_state(bench: Bench, path: Path) -> BenchState:
    """Return whether the virtual hosts of a file's bench are up; asks each agent."""
    return _state(bench, bench_folder(bench, path))


def _boards(bench: Bench, path: Path, project: Project) -> dict[str, Board]:
    if not _virtual_hosts(bench):
        raise UserError(
            f"{path}: has no host of `kind: loopback`",
            hint="a bench of real hosts needs no `bench up`",
        )
    for program in _PROGRAMS:
        find_program(program)
    boards = {}
    for name, target in bench.targets.items():
        if isinstance(target, VirtualTarget):
            board = project.board(target.board)
            if not isinstance(board, Board):
                raise UserError(
                    f"{path}: targets.{name}.board: {target.board} is a family",
                    hint=f"name one of its boards: {', '.join(board.family)}",
                )
            if board.stand_in is None:
                raise UserError(f"{path}: targets.{name}: board {board.name} has no stand-in")
            find_program(f"qemu-system-{board.arch.to_qemu()}")
            boards[name] = board
    return boards


def _virtual_hosts(bench: Bench) -> tuple[str, ...]:
    return tuple(name for name, host in bench.hosts.items() if isinstance(host, LoopbackHost))


def _description(bench: Bench, boards: dict[str, Board]) -> str:
    whole = {
        "bench": bench.model_dump(mode="json"),
        "boards": {name: board.model_dump(mode="json") for name, board in boards.items()},
        "agent": AGENT,
    }
    return json.dumps(whole, sort_keys=True, indent=1)


def _start(bench: Bench, boards: dict[str, Board], folder: Path) -> None:
    seed = int.from_bytes(hashlib.sha256(str(folder.absolute()).encode()).digest()[:4])
    for attempt in range(_ATTEMPTS):
        ports = FreePorts(seed + attempt * 997)
        try:
            _start_once(bench, boards, folder, ports)
        except BenchError as error:
            _stop(bench, folder)
            # Somebody took a port between the look and the use: others are tried.
            if "in use" not in str(error) or attempt == _ATTEMPTS - 1:
                raise
        except BaseException:
            _stop(bench, folder)
            raise
        else:
            return


def _start_once(bench: Bench, boards: dict[str, Board], folder: Path, ports: FreePorts) -> None:
    files: dict[str, VirtualHostFiles] = {}
    for host in _virtual_hosts(bench):
        plan = VirtualHostPlan(
            name=f"{bench.name}/{host}",
            folder=(folder / host).absolute(),
            client=(folder / "client").absolute(),
            socket=socket_dir(folder / host) / "agent.sock",
            targets={
                name: (target, boards[name])
                for name, target in bench.targets.items()
                if isinstance(target, VirtualTarget) and target.host == host
            },
        )
        files[host] = write_host_files(plan, ports)
    known = "".join(f"{written.known_host}\n" for written in files.values())
    write_text(folder / "client" / "known_hosts", known, mode=0o600)
    if os.geteuid() == 0:
        # sshd's privilege separation wants it; a container has none.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for host, written in files.items():
        run(
            [*AGENT, "start", written.settings],
            timeout_s=_START_S,
            error=BenchError,
            what=f"{bench.name}/{host}: start the agent",
        )
    write_text(folder / "bench.yml", _HEAD + _to_yaml(_resolved(bench, files)), mode=0o600)


def _resolved(bench: Bench, files: dict[str, VirtualHostFiles]) -> Bench:
    hosts = {
        name: files[name].host if name in files else host for name, host in bench.hosts.items()
    }
    targets = dict(bench.targets)
    for written in files.values():
        targets.update(written.targets)
    return Bench(format=1, name=bench.name, hosts=hosts, targets=targets)


def _to_yaml(bench: Bench) -> str:
    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    out = io.StringIO()
    yaml.dump(bench.model_dump(mode="json", exclude_none=True), out)
    return out.getvalue()


def _state(bench: Bench, folder: Path) -> BenchState:
    file = folder / "bench.yml"
    wrong = []
    running = 0
    for host in _virtual_hosts(bench):
        pid = _agent_pid(folder / host)
        if pid is None:
            left = tuple(_leftovers(folder / host))
            wrong += [f"{host}: its agent is gone, {len(left)} programs are left"] if left else []
            wrong += [f"{host}: its agent is gone"] if not left and file.exists() else []
            continue
        running += 1
        try:
            ping(agent_socket(folder / host), timeout_s=_ANSWER_S)
        except FarmError as error:
            wrong.append(f"{host}: {error}")
    if running and not file.exists():
        wrong.append("it did not come up wholly")
    if wrong:
        return BenchState(bench.name, "broken", "; ".join(wrong), file)
    return BenchState(bench.name, "up" if running else "down", "", file)


def _stop_unused(
    bench: Bench, folder: Path, command: str, reporter: Reporter, *, force: bool
) -> bool:
    """End all that runs where nobody uses it; returns whether anything ran."""
    with contextlib.ExitStack() as holding:
        for host in _hosts_on_disk(bench, folder):
            try:
                _hold(folder / host, command, _FORCED_S if force else _ANSWER_S, holding)
            except BenchError as error:
                if not force:
                    raise _in_use(f"bench {bench.name}: {host}", command, error) from error
                reporter.note(f"bench {bench.name}: {host}: {error}; it is ended all the same")
        return _stop(bench, folder)


def _hold(folder: Path, command: str, patience_s: float, holding: contextlib.ExitStack) -> None:
    """Lease all targets of a host, where its agent runs."""
    deadline = Deadline.after(patience_s)
    # An agent that just begins or ends has its lock, and does not answer.
    while _agent_pid(folder) is not None:
        leased = all_leased(
            agent_socket(folder),
            owner=command,
            reason="end the bench",
            timeout_s=max(deadline.left_s, _POLL_S),
            grace_s=min(_GRACE_S, patience_s),
        )
        try:
            holding.enter_context(leased)
        except BusyError:
            raise
        except BenchError:
            if deadline.expired:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _in_use(where: str, command: str, error: BenchError) -> BenchError:
    ending = f"`{command} --force` ends it all the same, and every run that uses it"
    if isinstance(error, BusyError):
        return BusyError(
            f"{where}: {error}",
            hint=ending,
            holder=error.holder,
            since=error.since,
            reason=error.reason,
        )
    return BenchError(
        f"{where}: its agent runs and does not say who uses its targets: {error}", hint=ending
    )


def _stop(bench: Bench, folder: Path) -> bool:
    """End all that runs, gently where it listens; returns whether anything ran."""
    ran = False
    for host in _hosts_on_disk(bench, folder):
        pid = _agent_pid(folder / host)
        agent = None if pid is None else process(pid)
        if agent is not None:
            ran = True
            end_process(agent, patience_s=_STOP_S)
        for left in tuple(_leftovers(folder / host)):
            ran = True
            end_process(left, patience_s=0)
        _remove_sockets(agent_socket(folder / host).parent)
    (folder / "bench.yml").unlink(missing_ok=True)
    return ran


def agent_socket(folder: Path) -> Path:
    """Return where the agent of a host listens that was started last.

    It is in its settings: another session's `socket_dir` may be another.
    """
    try:
        return Path(json.loads((folder / "settings.json").read_bytes())["socket"])
    except (OSError, ValueError, KeyError, TypeError):
        return socket_dir(folder) / "agent.sock"


def _remove_sockets(folder: Path) -> None:
    # Those of the agent and, in folders, of each board's QEMU, and links to serial lines.
    with contextlib.suppress(OSError):
        for left in folder.iterdir():
            if left.is_dir() and not left.is_symlink():
                _remove_sockets(left)
            else:
                left.unlink(missing_ok=True)
        folder.rmdir()


def _hosts_on_disk(bench: Bench, folder: Path) -> tuple[str, ...]:
    # Also those that the bench's file named when it was brought up.
    names = {path.parent.name for path in folder.glob("*/settings.json")}
    return tuple(sorted(names | set(_virtual_hosts(bench))))


def _agent_pid(folder: Path) -> int | None:
    """Return the process that holds the agent's lock; None where nobody does."""
    try:
        handle = os.open(folder / "agent.lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.read(handle, 32).decode(errors="replace").strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(handle)


def _leftovers(folder: Path) -> Iterator[ProcessInfo]:
    """Yield the programs of a host's former agent, with what they started."""
    place = f"{folder.absolute()}/"
    found = {
        each.pid: each
        for each in own_processes()
        if each.pid != os.getpid() and any(place in word for word in each.argv) and _is_ours(each)
    }
    for session in _orphaned_sessions(folder):
        found[session.pid] = session
    for below in descendants(set(found)):
        found[below.pid] = below
    yield from found.values()


def _is_ours(each: ProcessInfo) -> bool:
    # A pager that shows the bench's log has the folder in its arguments too.
    agent = "farm.bench.agent" in each.argv and "start" in each.argv
    return agent or each.command.startswith(_OURS)


def _orphaned_sessions(folder: Path) -> Iterator[ProcessInfo]:
    """Yield logins whose sshd is gone: their title no longer says whose they are."""
    port = _ssh_port(folder)
    for user in users_of_port(port) if port else ():
        parent = process(user.parent)
        listener = any("[listener]" in word for word in user.argv)
        if user.command == "sshd" and not listener and (not parent or parent.command != "sshd"):
            yield user


def _ssh_port(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / "settings.json").read_bytes())["virtual"]["ssh_port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
