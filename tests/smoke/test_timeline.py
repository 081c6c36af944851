# SPDX-License-Identifier: Apache-2.0
"""The console timeline: its reader, and the contract with the guest's writer, a shell script."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from farm.core.run import run
from farm.smoke.timeline import (
    EVENTS,
    MAX_LINE,
    Corrupt,
    Event,
    OtherVersion,
    format_line,
    parse_line,
)

_KEYS = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
_VALUES = st.text(st.characters(blacklist_categories=("Cs",)), max_size=30)
_EVENTS = st.builds(
    Event,
    boot=st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
    seq=st.integers(1, 999_999_999),
    time_s=st.integers(0, 99_999_999_999).map(lambda hundredths: hundredths / 100),
    name=st.from_regex(r"x-[a-z-]{0,10}", fullmatch=True),
    fields=st.dictionaries(_KEYS, _VALUES, max_size=4),
)
_LINE = format_line(Event("0123abcd", 7, 1.5, "onboot-end", {"name": "a", "rc": "0", "s": "0.10"}))


@given(_EVENTS, st.text(max_size=40), st.sampled_from(["", "\r\n", " \n", "\r\0"]))
def test_what_is_written_is_read(event: Event, before: str, end: str) -> None:
    assert parse_line(before + format_line(event) + end) == event


@given(_EVENTS, st.data())
def test_a_damaged_line_is_never_taken_for_another(event: Event, data: st.DataObject) -> None:
    line = format_line(event)
    at = data.draw(st.integers(0, len(line) - 1))
    letter = data.draw(st.characters(min_codepoint=1, max_codepoint=0x7F))
    damaged = line[:at] + letter + line[at + 1 :]
    if damaged != line:
        # A checksum of 32 bits finds every burst of errors that is no longer than itself.
        assert not isinstance(parse_line(damaged), Event)


@given(_EVENTS, st.data())
def test_a_line_that_was_cut_off_is_no_event(event: Event, data: st.DataObject) -> None:
    line = format_line(event)
    assert not isinstance(parse_line(line[: data.draw(st.integers(0, len(line) - 1))]), Event)


@given(st.text(max_size=200))
@example("farm/")
@example("farm/1 ")
@example("farm/99999 x")
@example("\0" * 3000 + _LINE)
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert parse_line(text) is None or "farm/" in text


def test_other_lines_are_none() -> None:
    assert parse_line("") is None
    assert parse_line("[    1.0] virtio_net virtio0 eth0: renamed") is None
    assert parse_line("see docs/farm/timeline") is None


def test_a_whole_line_behind_one_that_was_cut_off_counts() -> None:
    assert isinstance(parse_line(_LINE[:30] + "[    1.50] " + _LINE), Event)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("farm/1 0123abcd 1 0.10 complete s=1.00 #00000000", "checksum"),
        ("farm/1 0123abcd 1 0.10 complete s=1.00", "shape"),
        ("farm/1 0123abcd 0 0.10 complete s=1.00 #00000000", "shape"),
        ("farm/1 ", "None"),
    ],
)
def test_why_a_line_is_corrupt(line: str, reason: str) -> None:
    found = parse_line(line)
    if reason == "None":
        assert found is None
    else:
        assert isinstance(found, Corrupt)
        assert reason in found.reason


def _signed(body: str) -> str:
    return f"{body} #{zlib.crc32(body.encode()):08x}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("farm/1 0123abcd 1 0.10 complete", "complete without s"),
        ("farm/1 0123abcd 1 0.10 complete s", "key=value"),
        ("farm/1 0123abcd 1 0.10 complete s=%2", "key=value"),
    ],
)
def test_a_good_checksum_is_not_enough(body: str, reason: str) -> None:
    found = parse_line(_signed(body))
    assert isinstance(found, Corrupt)
    assert reason in found.reason


def test_a_line_of_another_version_is_not_damaged() -> None:
    line = _signed("farm/2 whatever that version says")
    assert parse_line(f"[    1.000000] {line}") == OtherVersion(line, 2)
    assert isinstance(parse_line(line.replace("what", "that")), Corrupt)


def test_every_event_is_documented(checkout: Path) -> None:
    text = (checkout / "docs" / "console-timeline.md").read_text()
    for name, keys in EVENTS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert set(re.findall(r"`([a-z]+)`", row.split("|")[2])) == set(keys), name


def test_the_documents_examples_are_lines_of_the_format(checkout: Path) -> None:
    text = (checkout / "docs" / "console-timeline.md").read_text()
    lines = [line for line in text.splitlines() if "farm/1 " in line and " #" in line]
    examples = [line for line in lines if re.search(r"#[0-9a-f]{8}$", line)]
    assert len(examples) > 15
    assert {type(parse_line(line)) for line in examples} == {Event}
    assert {e.name for e in map(parse_line, examples) if isinstance(e, Event)} == EVENTS.keys()


# --- the writer ---------------------------------------------------------------------------------


class Writer:
    """Runs the guest's own functions by busybox's shell on this machine."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self._script = checkout / "components" / "init" / "timeline.sh"
        self.folder = folder
        self.console_level = 7
        for name in ("sys/kernel/random", "run", "log"):
            (folder / name).mkdir(parents=True)
        self._put("sys/kernel/random/boot_id", "0123abcd-0000-4000-8000-000000000000\n")
        self._put("sys/kernel/printk_devkmsg", "ratelimit\n")
        self._put("uptime", "12.34 5.00\n")
        self.console = self._put("console", "")

    def __call__(self, *commands: str, log: str = "") -> list[str]:
        """Run commands after `timeline_open`; return what came to the kernel's log."""
        self._put("sys/kernel/printk", f"{self.console_level}\t4\t1\t7\n")
        (self.folder / "log" / "web").mkdir(exist_ok=True)
        (self.folder / "log" / "web" / "current").write_bytes(log.encode("latin-1"))
        kmsg = self._put("kmsg", "")
        # The kernel's log takes each write as a line of its own; a file must be appended to.
        text = self._script.read_text().replace("> $FARM_KMSG", ">> $FARM_KMSG")
        script = self._put("timeline.sh", text.replace("> $FARM_CONSOLE", ">> $FARM_CONSOLE"))
        variables = {
            "FARM_PROC": self.folder,
            "FARM_RUN": self.folder / "run",
            "FARM_KMSG": kmsg,
            "FARM_CONSOLE": self.console,
            "FARM_LOG": self.folder / "log",
        }
        lines = [f"{name}={value}" for name, value in variables.items()]
        lines += [f". {script}", "timeline_open", *commands]
        run(["busybox", "sh", "-c", "\n".join(lines)], timeout_s=60)
        return kmsg.read_text().splitlines()

    def _put(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


@pytest.fixture
def writer(tmp_path: Path, checkout: Path) -> Writer:
    return Writer(tmp_path, checkout)


def _events(lines: Sequence[str]) -> list[Event]:
    found = [parse_line(line) for line in lines]
    assert all(isinstance(event, Event) for event in found), lines
    return [event for event in found if isinstance(event, Event)]


def test_every_event_goes_from_the_shell_to_python(writer: Writer) -> None:
    commands = [
        " ".join(["event", name, *(f"{key}={number}" for number, key in enumerate(keys))])
        for name, keys in EVENTS.items()
    ]
    events = _events(writer(*commands))
    assert [event.name for event in events] == list(EVENTS)
    for number, event in enumerate(events, 1):
        assert (event.boot, event.seq, event.time_s) == ("0123abcd", number, 12.34)
        assert list(event.fields) == list(EVENTS[event.name])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=20))
@example("a b=c%20#\n")
@example("grüße")
@example("-n")
def test_any_value_goes_through(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    folder = tmp_path_factory.mktemp("writer")
    writer = Writer(folder, Path(__file__).parents[2])
    quoted = "'" + value.replace("'", "'\\''") + "'"
    (event,) = _events(writer(f"encode {quoted}", "event x-test value=$REPLY"))
    assert event.fields == {"value": value}


def test_lines_are_for_the_log_at_a_level_that_the_console_shows(writer: Writer) -> None:
    for shown, level in ((8, "<5>"), (7, "<5>"), (6, "<5>"), (5, "<4>"), (4, "<3>"), (1, "<0>")):
        writer.console_level = shown
        (line,) = writer("event complete s=1.00")
        assert line.startswith(level), shown


def test_where_the_console_shows_nothing_of_the_log_lines_go_there_themselves(
    writer: Writer,
) -> None:
    writer.console_level = 0
    assert writer("event complete s=1.00") == []
    assert len(_events(writer.console.read_text().splitlines())) == 1


def test_seconds_have_two_decimals(writer: Writer) -> None:
    # The uptime stands still at 12.34 s.
    commands = [f"since {at}; event complete s=$REPLY" for at in (1234, 1229, 1200, 1134, 0)]
    events = _events(writer(*commands))
    assert [event.fields["s"] for event in events] == ["0.00", "0.05", "0.34", "1.00", "12.34"]


def test_output_of_a_container_cannot_be_taken_for_a_line(writer: Writer) -> None:
    forged = _signed("farm/1 0123abcd 2 0.10 complete s=1.00")
    log = "".join(
        f"2025-01-01_00:00:00.00000 {text}\n"
        for text in (forged, "\033[31mred\033[0m \x07bell", "a\tb", "  indented", "gr\xfc\xdfe")
    )
    lines = writer("tell_output web", log=log)
    assert [parse_line(line) for line in lines] == [None] * 5
    texts = [line.removeprefix("<5>farm: web: ") for line in lines]
    assert texts[0].startswith("farm-1 0123abcd 2")
    assert texts[1:] == ["[31mred[0m bell", "a b", "  indented", "gre"]


def test_output_is_told_by_its_last_lines_and_no_line_is_long(writer: Writer) -> None:
    log = "".join(f"t {number} {'x' * 2000}\n" for number in range(40))
    lines = writer("tell_output web", log=log)
    assert [line.split()[2] for line in lines] == [str(number) for number in range(20, 40)]
    assert max(map(len, lines)) < MAX_LINE


def test_a_container_without_output_says_nothing(writer: Writer) -> None:
    assert writer("tell_output web", "tell_output nobody", log="") == []
