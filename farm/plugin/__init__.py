# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: `pytest hil/ --farm-board rpi4` boots a board once and tests it.

pytest loads this module in every session on the machine, so it imports nothing of farm; the
fixtures do when a test asks for them. `docs/testing-on-boards.md` is its manual.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from farm.core.errors import FarmError
    from farm.plugin.console import BoardConsole
    from farm.plugin.power import BoardPower
    from farm.plugin.session import BoardSession
    from farm.plugin.shell import Shell

_FIXTURES = frozenset({"board", "console", "shell", "power"})
_SESSION: pytest.StashKey[BoardSession] = pytest.StashKey()
_DEAD: pytest.StashKey[str] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; each begins with --farm-."""
    group = parser.getgroup("farm", "boards of a bench (farm)")
    group.addoption("--farm-board", metavar="NAME", help="Kind of board to test on.")
    group.addoption("--farm-target", metavar="NAME", help="This target; else any free one.")
    group.addoption("--farm-bench", metavar="FILE", help="bench.yml; else the project's.")
    group.addoption(
        "--farm-no-bench",
        action="store_true",
        help="Boot a throw-away virtual board instead of a target of the bench.",
    )
    group.addoption(
        "--farm-assembly",
        metavar="FILE",
        default="assemblies/origin.yml",
        help="Build and boot this assembly (default: %(default)s).",
    )
    group.addoption("--farm-image", metavar="FILE", help="Boot this image; nothing is built.")
    group.addoption(
        "--farm-identity", metavar="FILE", help="Private key for `shell`; else the user's own."
    )
    group.addoption("--farm-results", metavar="FOLDER", help="Where the run's folder is made.")
    group.addoption(
        "--farm-limit",
        metavar="SECONDS",
        type=float,
        help="How long a single step of the boot may take; else 90 s and what the board needs.",
    )


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> Generator[BoardSession]:
    """The board, booted: `.verdict`, `.timeline`, `.record`, `.name`, `.target`."""
    name = request.config.getoption("--farm-board")
    if not name:
        pytest.skip("no board was chosen: pytest --farm-board NAME")
    from farm.core.errors import FarmError
    from farm.plugin.order import order_from
    from farm.plugin.session import BoardSession

    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with BoardSession(
            order_from(request.config), _reporter(request.config, capture)
        ) as session:
            request.config.stash[_SESSION] = session
            yield session
    except FarmError as error:
        request.config.stash[_DEAD] = error.message
        pytest.fail(_words(error), pytrace=False)
    finally:
        if _SESSION in request.config.stash:
            del request.config.stash[_SESSION]


@pytest.fixture(scope="session")
def console(board: BoardSession) -> BoardConsole:
    """The board's serial console: `read()`, `expect(PATTERN)`, `send(TEXT)`."""
    return board.console


@pytest.fixture(scope="session")
def power(board: BoardSession) -> BoardPower:
    """The board's supply: `off()`, `on()`, `cycle()`, `state()`."""
    return board.power


@pytest.fixture(scope="session")
def shell(board: BoardSession) -> Generator[Shell]:
    """Runs commands on the board: by SSH where it has a network, else on its console."""
    from farm.core.errors import FarmError
    from farm.plugin.shell import NoShellError, open_shell

    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(open_shell(board))
        except NoShellError as error:
            pytest.skip(str(error))
        except FarmError as error:
            pytest.fail(_words(error), pytrace=False)
        yield found


def _words(error: FarmError) -> str:
    return f"{error.message}\n  → {error.hint}" if error.hint else error.message


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a board that is known to be dead."""
    if _uses_board(item) and (why := item.config.stash.get(_DEAD, None)):
        pytest.skip(f"the board is dead, see the first failure: {why}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Fail the test during which the board died; it is the one failure that this makes."""
    session = pyfuncitem.config.stash.get(_SESSION, None) if _uses_board(pyfuncitem) else None
    if session is not None:
        _check(pyfuncitem.config, session)
    try:
        result = yield
    except Exception as error:
        if session is not None:
            _check(pyfuncitem.config, session, error)
        raise
    if session is not None:
        _check(pyfuncitem.config, session)
    return result


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which board is tested."""
    name = config.getoption("--farm-board")
    if not name:
        return None
    how = "throw-away virtual board" if config.getoption("--farm-no-bench") else "bench"
    return f"farm: board {name} ({how})"


def _uses_board(item: pytest.Item) -> bool:
    return not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def _check(config: pytest.Config, session: BoardSession, error: Exception | None = None) -> None:
    """Fail with what is wrong with the board, if anything is; it explains `error`."""
    if (why := session.problem()) is not None:
        config.stash[_DEAD] = why.partition("\n")[0]
        raise pytest.fail.Exception(why, pytrace=False) from error


def _reporter(config: pytest.Config, capture: Any) -> Any:  # noqa: ANN401
    from farm.plugin.progress import PytestReporter

    return PytestReporter(config.pluginmanager.getplugin("terminalreporter"), capture)
