# SPDX-License-Identifier: Apache-2.0
"""Reading the boot timeline that the guest's init prints on the console.

A line, of which anything may stand before it on the console's line:

    farm/1 BOOT SEQ TIME EVENT [KEY=VALUE]... #CRC

Format source: `docs/console-timeline.md`. The writer is `components/init/timeline.sh`; a
contract test reads with this module what the writer's own functions print.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

VERSION = 1
"""Of the format; it stands in each line's first word."""

EVENTS: Mapping[str, tuple[str, ...]] = {
    "start": ("kernel", "init", "build"),
    "modules": ("count", "failed"),
    "network": ("interface", "address"),
    "onboot-begin": ("name",),
    "onboot-end": ("name", "rc", "s"),
    "skipped": ("kind", "name", "need"),
    "service-begin": ("name",),
    "service-up": ("name", "s", "by"),
    "service-failed": ("name", "rc", "reason"),
    "service-exit": ("name", "rc"),
    "complete": ("s",),
    "settled": ("s", "up"),
    "failed": ("stage", "name", "rc"),
    "shutdown": ("reason",),
}
"""Every event of the format, with the keys that it always has."""

SAFE = "._+:@,-"
"""What stands in a value as it is, beside ASCII letters and digits; all else is %XX of UTF-8."""

MAX_LINE = 900
"""A line is never longer, in characters; a kernel's log record ends soon after."""

_MARK = "farm/"
_SHAPE = re.compile(
    r"farm/(?P<version>[0-9]{1,4}) (?P<boot>[0-9a-f]{8}) (?P<seq>[1-9][0-9]{0,8})"
    r" (?P<time>[0-9]{1,9}\.[0-9]{2}) (?P<event>[a-z][a-z-]{0,31})(?P<fields>(?: [^ ]+)*)"
    r" #(?P<crc>[0-9a-f]{8})"
)
_HEAD = re.compile(r"farm/([0-9]{1,4}) ")
_SUM = re.compile(r" #([0-9a-f]{8})\Z")
_FIELD = re.compile(r"([a-z][a-z0-9-]{0,31})=((?:[A-Za-z0-9._+:@,-]|%[0-9A-F]{2})*)")
_END = " \t\r\n\0"


@dataclass(frozen=True)
class Event:
    """One line of the timeline.

    Args:
        boot: first eight hex digits of the boot's id.
        seq: number of the line in this boot, counted from 1.
        time_s: the guest's uptime, in seconds.
        name: of the event, as in `EVENTS`, or one of a later minor change.
        fields: the values by their keys, decoded; an event of `EVENTS` has all of its keys.
    """

    boot: str
    seq: int
    time_s: float
    name: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Corrupt:
    """A line that begins as one of the timeline and is none: damaged on its way, or forged."""

    text: str
    reason: str


@dataclass(frozen=True)
class OtherVersion:
    """A sound line of another version of the format, which is not known here."""

    text: str
    version: int


def parse_line(text: str) -> Event | Corrupt | OtherVersion | None:
    """Read one line of a console.

    Args:
        text: the line, with or without its end; anything may stand before the timeline's part.

    Returns:
        the event; what is wrong with a line that begins as one; which version of the format a
        sound line has, if another; None for any other line.
    """
    line = text[-2 * MAX_LINE :].rstrip(_END)
    if _MARK not in line:
        return None
    heads = list(_HEAD.finditer(line))
    if not heads:
        return None
    # A line that was cut off may be followed, without a line's end, by one that is whole.
    part, version = line[heads[-1].start() :], int(heads[-1][1])
    shape = _SHAPE.fullmatch(part)
    if version != VERSION and _sound(part):
        return OtherVersion(part, version)
    if shape is None:
        return Corrupt(part, "not the shape of a timeline line")
    if not _sound(part):
        return Corrupt(part, "the checksum is wrong")
    fields: dict[str, str] = {}
    for word in shape["fields"].split():
        field = _FIELD.fullmatch(word)
        if field is None:
            return Corrupt(part, f"{word!r} is not of the form key=value")
        fields[field[1]] = unquote(field[2], errors="replace")
    absent = [key for key in EVENTS.get(shape["event"], ()) if key not in fields]
    if absent:
        return Corrupt(part, f"{shape['event']} without {', '.join(absent)}")
    seq, time_s = int(shape["seq"]), float(shape["time"])
    return Event(shape["boot"], seq, time_s, shape["event"], fields)


def _sound(part: str) -> bool:
    """Whether a line's checksum, which every version has at its end, is right."""
    found = _SUM.search(part)
    if found is None:
        return False
    body = part[: found.start()].encode(errors="surrogateescape")
    return f"{zlib.crc32(body):08x}" == found[1]


def format_line(event: Event) -> str:
    """Return the line that says `event`, as the guest's writer prints it; for tests and fakes."""
    words = [f"farm/{VERSION}", event.boot, str(event.seq), f"{event.time_s:.2f}", event.name]
    words += [f"{key}={_encoded(value)}" for key, value in event.fields.items()]
    body = " ".join(words)
    return f"{body} #{zlib.crc32(body.encode()):08x}"


def _encoded(value: str) -> str:
    # `quote` never encodes `~`, which this format does.
    return quote(value, safe=SAFE, errors="surrogateescape").replace("~", "%7E")
