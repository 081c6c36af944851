# SPDX-License-Identifier: Apache-2.0
"""config.txt as the Raspberry Pi's firmware reads it.

Source: Raspberry Pi documentation, "config.txt" (file format, conditional filters, boot options):
https://www.raspberrypi.com/documentation/computers/config_txt.html

The model filters, `[all]` and `[none]` are done. What stands under any other filter is skipped,
and said so; overlays are collected but not applied, and said so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from farm.firmware.card import printable

MAX_LINE = 98
"""What stands behind this many characters of a line is ignored by the firmware."""
MAX_INCLUDES = 16
MAX_LINES = 5_000
_MODEL_FILTERS = frozenset(
    {
        *("pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+", "pi4", "pi400", "pi5", "pi500"),
        *("cm0", "cm1", "cm3", "cm3+", "cm4", "cm4s", "cm5"),
    }
)

ReadText = Callable[[str], str | None]
"""Gives a file of the card by its name, or None where there is none."""


@dataclass
class Config:
    """The settings that hold for one model.

    Args:
        values: key → value; a later line replaces an earlier one.
        initramfs: the file names of `initramfs`, to be put one behind the other.
        overlays: the lines `dtoverlay` and `dtparam`, which are not applied.
        notes: what was skipped or cut, for a person.
    """

    values: dict[str, str] = field(default_factory=dict)
    initramfs: tuple[str, ...] = ()
    overlays: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def on(self, key: str, default: bool = False) -> bool:
        """Whether a switch is set to anything but 0."""
        value = self.values.get(key)
        return default if value is None else value.strip() not in ("", "0")


class _Filters:
    """Which section the reader is in, and whether its lines count."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._model_fits = True
        self._others_fit = True

    @property
    def open(self) -> bool:
        return self._model_fits and self._others_fit

    def enter(self, name: str) -> str | None:
        """Take a `[name]` line; returns what to tell a person, if anything."""
        key = name.lower()
        if key == "all":
            self._model_fits = self._others_fit = True
        elif key == "none":
            self._others_fit = False
        elif key in _MODEL_FILTERS:
            self._model_fits = key == self._model
        else:
            # tryboot, EDID, serial numbers, GPIO levels: nothing of the kind is known here.
            self._others_fit = False
            return f"[{name}]: a filter that is not modelled: the section is skipped"
        return None


def read_config(name: str, read_text: ReadText, *, model: str) -> Config:
    """Read config.txt and what it includes.

    Args:
        name: the file to begin with.
        model: the board's name among the filters, such as `pi4`.
    """
    config = Config()
    filters = _Filters(model)
    _read_file(name, read_text, config, filters, opened=[], lines=[0])
    return config


def _read_file(
    name: str,
    read_text: ReadText,
    config: Config,
    filters: _Filters,
    *,
    opened: list[str],
    lines: list[int],
) -> None:
    text = read_text(name)
    if text is None:
        config.notes.append(f"{printable(name)}: not found")
        return
    opened.append(name)
    for number, raw in enumerate(text.splitlines(), 1):
        lines[0] += 1
        if lines[0] > MAX_LINES:
            config.notes.append(
                f"{printable(name)}: more than {MAX_LINES} lines: the rest is ignored"
            )
            return
        where = f"{printable(name)}, line {number}"
        line = raw
        if len(line) > MAX_LINE and not line.lstrip().startswith("#"):
            config.notes.append(f"{where}: cut at {MAX_LINE} characters, as the firmware does")
            line = line[:MAX_LINE]
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            if note := filters.enter(line[1:-1].strip()):
                config.notes.append(f"{where}: {printable(note)}")
        elif filters.open:
            _take_line(line, where, read_text, config, filters, opened=opened, lines=lines)


def _take_line(
    line: str,
    where: str,
    read_text: ReadText,
    config: Config,
    filters: _Filters,
    *,
    opened: list[str],
    lines: list[int],
) -> None:
    word, _, rest = line.partition(" ")
    if word == "include":
        if len(opened) >= MAX_INCLUDES:
            config.notes.append(f"{where}: more than {MAX_INCLUDES} files are included: ignored")
        else:
            _read_file(rest.strip(), read_text, config, filters, opened=opened, lines=lines)
        return
    if word == "initramfs":
        names, *place = rest.split()[:2] or [""]
        if place and (place[0] == "followkernel" or place[0].startswith("0x")):
            config.initramfs = tuple(part for part in names.split(",") if part)
        else:
            config.notes.append(f"{where}: initramfs without an address or followkernel: ignored")
        return
    key, equals, value = line.partition("=")
    key = key.strip()
    if not equals:
        config.notes.append(f"{where}: {printable(line)!r} sets nothing: ignored")
    elif key in ("dtoverlay", "dtparam"):
        if value.strip():
            config.overlays.append(line)
    else:
        config.values[key] = value.strip()
