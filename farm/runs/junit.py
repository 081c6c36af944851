# SPDX-License-Identifier: Apache-2.0
"""A run as JUnit XML, for whatever shows test results.

A failure of the image is a `failure`, trouble of the bench an `error`. A run is one failure at
most: what was not reached because of it is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from farm.runs.result import RunResult
from farm.smoke.verdict import Fault, Verdict


def junit_xml(result: RunResult) -> str:
    """Return the XML text."""
    verdict = result.verdict
    suite = TestSuite(f"farm.{result.board}")
    suite.timestamp = result.started.removesuffix("Z")
    suite.hostname = result.target
    name = f"farm.{result.board}.{result.assembly or 'image'}"
    boot = TestCase("boot", name, round(verdict.duration_s, 3))
    if verdict.fault is not Fault.NONE:
        kind = Failure if verdict.fault is Fault.IMAGE else Error
        problem = kind(verdict.summary, verdict.outcome.value)
        problem.text = _why(result)
        boot.result = [problem]
    suite.add_testcase(boot)
    for case in _steps(verdict, name):
        suite.add_testcase(case)
    _update(suite)
    xml = JUnitXml("farm")
    xml.add_testsuite(suite)
    _update(xml)
    return _text(xml)


def _why(result: RunResult) -> str:
    verdict = result.verdict
    return "\n".join(
        (
            f"stage: {verdict.stage}",
            *verdict.cause_lines,
            f"next step: {verdict.next_step}",
            f"results: {result.folder}",
        )
    )


def _steps(verdict: Verdict, name: str) -> Iterator[TestCase]:
    """One case a container: when it ended or came up well, or why that is not known."""
    done: set[str] = set()
    begun: dict[str, str] = {}
    for event in verdict.timeline:
        container = event.fields.get("name", "")
        if event.name in ("onboot-begin", "service-begin"):
            begun[container] = event.name.partition("-")[0]
        elif event.name == "service-up" or (
            event.name == "onboot-end" and event.fields.get("rc") == "0"
        ):
            done.add(container)
            kind = "service" if event.name == "service-up" else "onboot"
            yield TestCase(f"{kind} {container}", name, _seconds(event.fields.get("s", "0")))
    for container, kind in begun.items():
        if container not in done:
            case = TestCase(f"{kind} {container}", name)
            case.result = [Skipped("not reached; see boot")]
            yield case
    for skipped in verdict.skipped:
        case = TestCase(f"{skipped.kind} {skipped.name}", name)
        case.result = [Skipped(f"needs {skipped.need}")]
        yield case


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1e6)
    except ValueError:
        return 0.0


# junitparser has no types of its own for these.
def _update(part: Any) -> None:  # noqa: ANN401
    part.update_statistics()


def _text(xml: Any) -> str:  # noqa: ANN401
    return bytes(xml.tostring()).decode() + "\n"
