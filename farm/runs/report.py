# SPDX-License-Identifier: Apache-2.0
"""A run as one HTML page that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from farm.core.run import paste
from farm.runs.console_log import read_log
from farm.runs.picture import bars, ticks
from farm.runs.result import RunResult

_TEMPLATES = Path(__file__).parent / "templates"


def report_html(result: RunResult, console_log: Path) -> str:
    """Return the page's text. Whatever a console or an image says in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    verdict = result.verdict
    return environment.get_template("report.html").render(
        run=result,
        verdict=verdict,
        fault=verdict.fault.value,
        command=paste(result.command),
        bars=bars(verdict),
        ticks=ticks(verdict.duration_s),
        span_s=max(verdict.duration_s, 0.001),
        console=read_log(console_log),
    )
