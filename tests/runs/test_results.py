# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.errors import ExitCode, UserError
from farm.flash.client import FlashReport
from farm.runs import console_log
from farm.runs.console_log import ConsoleLog, read_log
from farm.runs.folder import LATEST, RunFolder
from farm.runs.junit import junit_xml
from farm.runs.picture import bars, ticks
from farm.runs.report import report_html
from farm.runs.result import RunResult, Timing
from farm.runs.words import describe
from farm.smoke.verdict import Expectation, Fault, Outcome, Stage, Verdict
from tests.smoke.scripted import LIMITS, Scripted


def result_of(verdict: Verdict, folder: Path = Path("results/x")) -> RunResult:
    return RunResult(
        id=folder.name,
        folder=folder,
        image="out/origin-rpi4.img",
        digest="sha256:" + "ab" * 32,
        assembly="origin",
        board="rpi4",
        target="rpi4-1",
        started="2026-01-02T03:04:05Z",
        command=("farm", "flash", "--board", "rpi4", "my assembly.yml"),
        verdict=verdict,
        timings=(Timing("flash", 3.5),),
        flashed=FlashReport(1000, 3, 5, 8, 3.4, True),
    )


def passed() -> Verdict:
    return Scripted().whole().wait(5).verdict


def failed() -> Verdict:
    boot = Scripted().firmware().kernel().init().event("onboot-begin", name="dhcp")
    boot.say("<script>alert(1)</script> \x1b[31mred]]>\x07")
    return boot.event("onboot-end", name="dhcp", rc="3", s="1").wait(2).verdict


def infrastructure() -> Verdict:
    return Scripted().firmware().watch.infrastructure("QEMU ended", "look at its log")


def test_the_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    with RunFolder(root, "rpi4-1") as folder:
        log = ConsoleLog(folder.console_log)
        log.write(b"hello\r\n", 5.0, 1_700_000_000.25)
        log.close()
        assert not folder.path.exists()
        folder.keep(result_of(passed(), folder.path))
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"verdict.json", "console.log", "timeline.json", "junit.xml", "report.html"}
    assert (root / LATEST).resolve() == folder.path
    data = json.loads((folder.path / "verdict.json").read_bytes())
    assert data["digest"].startswith("sha256:") and data["flash"]["repaired"] is True
    assert data["command"] == "farm flash --board rpi4 'my assembly.yml'"
    assert Verdict.from_json(data["verdict"]).passed
    timeline = json.loads((folder.path / "timeline.json").read_bytes())
    assert timeline["timeline"][0]["name"] == "start"


def test_nothing_is_left_of_a_run_that_was_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(tmp_path, "a") as folder:
        ConsoleLog(folder.console_log).close()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    with RunFolder(tmp_path, "b") as folder:
        ours = folder.console_log.parent
        gone = tmp_path / ours.name.replace(f"-{os.getpid()}-", "-999999999-")
        elsewhere = tmp_path / ".unfinished-elsewhere-999999999-x"
        gone.mkdir()
        elsewhere.mkdir()
        with RunFolder(tmp_path, "a"):
            pass
        assert set(tmp_path.iterdir()) == {ours, elsewhere}


def test_of_a_virtual_board_the_log_of_qemu_is_kept(tmp_path: Path) -> None:
    with RunFolder(tmp_path, "a") as folder:
        (folder.scratch / "board").mkdir()
        (folder.scratch / "board" / "qemu.log").write_text("no such device")
        (folder.scratch / "card.img").touch()
        folder.keep(result_of(passed(), folder.path))
    assert (folder.path / "qemu.log").read_text() == "no such device"
    assert not (folder.path / "scratch").exists()


def test_latest_is_the_last_one(tmp_path: Path) -> None:
    for _ in range(2):
        with RunFolder(tmp_path, "a") as folder:
            folder.keep(result_of(passed(), folder.path))
    assert (tmp_path / LATEST).readlink() == Path(folder.id)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"), RunFolder(tmp_path / "file", "a"):
        pass


def test_console_log_keeps_bytes_and_stamps_lines(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    log.write(b"one\r\ntw", 5.0, 1_700_000_000.0)
    log.write(b"", 5.5, 1_700_000_000.5)
    log.write(b"o\x1b[0m\xff\r\nprompt# ", 6.0, 1_700_000_001.0)
    log.note("power off", 1_700_000_002.0)
    log.close()
    assert (tmp_path / "console.log").read_bytes().split(b"\n") == [
        b"2023-11-14T22:13:20.000Z      0.000 one\r",
        b"2023-11-14T22:13:20.000Z      0.000 two\x1b[0m\xff\r",
        b"2023-11-14T22:13:21.000Z      1.000 prompt# ",
        b"2023-11-14T22:13:22.000Z            --- power off",
        b"",
    ]
    assert "two\\xff" in read_log(tmp_path / "console.log")


def test_console_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_log, "LIMIT_BYTES", 10_000)
    log = ConsoleLog(tmp_path / "console.log")
    for _ in range(100):
        log.write(b"x" * 999 + b"\n", 0.0, 0.0)
    log.close()
    assert (tmp_path / "console.log").stat().st_size < 12_000
    assert "the log ends here" in read_log(tmp_path / "console.log")
    assert read_log(tmp_path / "console.log", 2000).startswith("[")


@contextlib.contextmanager
def _disk_takes(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_cuts_the_log_and_keeps_the_verdict(tmp_path: Path) -> None:
    with RunFolder(tmp_path, "a") as folder:
        with _disk_takes(5000), folder.log() as log:
            for _ in range(100):
                log.write(b"x" * 99 + b"\n", 0.0, 0.0)
            log.note("power off", 0.0)
        result = folder.keep(result_of(passed(), folder.path))
    assert result.verdict.passed
    assert any("console.log is cut: File too large" in text for text in result.verdict.warnings)
    data = json.loads((folder.path / "verdict.json").read_bytes())
    assert Verdict.from_json(data["verdict"]).warnings == result.verdict.warnings
    assert (folder.path / "console.log").stat().st_size == 5000


def test_a_full_disk_at_the_end_keeps_the_verdict(tmp_path: Path) -> None:
    with RunFolder(tmp_path, "a") as folder, _disk_takes(100):
        with folder.log() as log:
            log.write(b"hello\n", 0.0, 0.0)
        result = folder.keep(result_of(failed(), folder.path))
    assert result.exit_code is ExitCode.FAILED
    assert any("not whole" in text and "verdict.json" in text for text in result.verdict.warnings)
    assert "hello" in (folder.path / "console.log").read_text()
    assert "not whole" in describe(result)


@pytest.mark.parametrize(
    ("verdict", "code", "element"),
    [
        (passed(), ExitCode.OK, None),
        (failed(), ExitCode.FAILED, "failure"),
        (infrastructure(), ExitCode.BENCH, "error"),
    ],
)
def test_junit(verdict: Verdict, code: ExitCode, element: str | None) -> None:
    result = result_of(verdict)
    assert result.exit_code is code
    tree = ET.fromstring(junit_xml(result))
    suite = tree.find("testsuite")
    assert suite is not None and suite.get("hostname") == "rpi4-1"
    counts = {name: int(suite.get(name, "0")) for name in ("failures", "errors")}
    assert counts == {"failures": element == "failure", "errors": element == "error"}
    if element is not None:
        problem = suite.find(f"testcase[@name='boot']/{element}")
        assert problem is not None and verdict.summary in str(problem.get("message"))
        assert verdict.next_step in str(problem.text)


def test_junit_has_a_case_for_each_container() -> None:
    tree = ET.fromstring(junit_xml(result_of(passed())))
    assert [case.get("name") for case in tree.iter("testcase")] == [
        "boot",
        "onboot dhcp",
        "service hello",
    ]
    tree = ET.fromstring(junit_xml(result_of(failed())))
    assert tree.find(".//testcase[@name='onboot dhcp']/skipped") is not None


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_page(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"<script>alert(1)</script> \x1b]0;x\x07 \xff\x00 &amp;\n")
    text = report_html(result_of(failed()), log)
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags and page.links == []
    assert "svg" in page.tags and page.tags.count("rect") >= 4
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert "farm flash --board rpi4 &#39;my assembly.yml&#39;" in text
    assert "exit code 3" in text and "sha256:" in text


@given(st.text(max_size=200), st.binary(max_size=500))
def test_no_text_breaks_the_page(text: str, data: bytes) -> None:
    boot = Scripted().firmware().kernel().init().event("onboot-begin", name="dhcp")
    boot.raw(data + b"\n")
    verdict = boot.watch.infrastructure(text, text)
    rendered = junit_xml(result_of(verdict))
    assert ET.fromstring(rendered).find(".//error") is not None


def test_picture() -> None:
    verdict = passed()
    shown = bars(verdict)
    assert shown[0].label == "power to firmware"
    assert {bar.kind for bar in shown} == {"stage", "onboot", "service"}
    assert all(0 <= bar.begin_s <= bar.end_s <= verdict.duration_s + 0.02 for bar in shown)
    assert {bar.kind for bar in bars(failed())} == {"stage", "bad"}
    assert ticks(0.0) == (0.0,) and ticks(100.0)[-1] <= 100.0 and len(ticks(3600.0)) <= 7


def test_a_boot_that_never_began_has_a_page_as_well(tmp_path: Path) -> None:
    verdict = Verdict(Outcome.INFRASTRUCTURE, Stage.POWER, "flash: cut", next_step="again")
    log = tmp_path / "console.log"
    log.touch()
    assert "flash: cut" in report_html(result_of(verdict), log)
    assert verdict.fault is Fault.BENCH
    assert Expectation("raspberrypi", limits=LIMITS).limits is LIMITS
