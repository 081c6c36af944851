# SPDX-License-Identifier: Apache-2.0
"""YAML 1.2 text into a tree of nodes that know their place, with everything in it bounded.

The parser is ruamel.yaml's; its events are put together here and not by its own composer, so that
a hostile file is refused before it is expanded, and each key keeps its line and column. Plain
scalars mean what the core schema says (YAML 1.2.2, 10.3.2): `on` and `1:30` are texts. `<<` merges
as in YAML 1.1, since LinuxKit's files use it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000
"""How many values a file may have after its aliases are expanded."""

Value: TypeAlias = bool | int | float | str | None

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}


class Place(NamedTuple):
    """Where something stands: line and column, both from 1."""

    line: int
    column: int


class Fault(NamedTuple):
    """Something that is wrong with the text as YAML."""

    place: Place
    path: str
    what: str
    hint: str | None = None


class TextError(Exception):
    """The text cannot be read any further."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.what)
        self.fault = fault


@dataclass(slots=True)
class Scalar:
    """One value, and how it was written."""

    place: Place
    value: Value
    text: str
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class List:
    """A list; `size` counts all values below it, `depth` the levels."""

    place: Place
    items: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class Map:
    """Keys and values, and where each key stands."""

    place: Place
    items: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    size: int = 1
    depth: int = 1


Node: TypeAlias = Scalar | List | Map


@dataclass(slots=True)
class _Open:
    """A list or map whose end has not come; a map also has the key that waits for its value."""

    node: List | Map
    anchor: str | None
    path: str
    key: str | None = None
    merges: list[tuple[Node, Place]] = field(default_factory=list)


def read_nodes(text: str) -> tuple[Node | None, list[Fault]]:
    """Return the text's tree (None where it has no document) and what is wrong within it.

    Raises:
        TextError: it is not YAML, or larger, deeper or wider than a file for people may be.
    """
    builder = _Builder()
    for event in _events(text):
        builder.take(event)
    return builder.root, builder.faults


def plain(node: Node) -> object:
    """Return the node's value as Python has it, without places."""
    match node:
        case Scalar():
            return node.value
        case List():
            return [plain(item) for item in node.items]
        case Map():
            return {key: plain(item) for key, item in node.items.items()}


def describe(node: Node) -> str:
    """Return what was found, in plain words."""
    match node:
        case List():
            return "a list"
        case Map():
            return "keys and values"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return node.text
        case Scalar(value=str()):
            return f"the text {_short(node.text)}"
        case Scalar():
            return f"the number {node.text[:40]}"


class _Builder:
    def __init__(self) -> None:
        self.root: Node | None = None
        self.faults: list[Fault] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0

    def take(self, event: Event) -> None:
        match event:
            case ScalarEvent():
                self._take_scalar(event)
            case AliasEvent():
                self._take_alias(event)
            case MappingStartEvent() | SequenceStartEvent():
                self._begin(event)
            case MappingEndEvent() | SequenceEndEvent():
                self._end()
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise TextError(
                        Fault(_place(event), "", "a second document begins here; one is expected")
                    )
            case _:
                pass

    def _path(self) -> str:
        if not self._stack:
            return ""
        top = self._stack[-1]
        if isinstance(top.node, List):
            return f"{top.path}[{len(top.node.items)}]"
        return join(top.path, top.key) if top.key is not None else top.path

    def _take_scalar(self, event: ScalarEvent) -> None:
        place = _place(event)
        if self._stack and isinstance(self._stack[-1].node, Map) and self._stack[-1].key is None:
            self._stack[-1].key = event.value
            self._take_key(event, place)
            return
        node = Scalar(place, self._value(event, place), event.value)
        self._remember(event.anchor, node)
        self._add(node)

    def _take_key(self, event: ScalarEvent, place: Place) -> None:
        top = self._stack[-1]
        key: str = event.value
        assert isinstance(top.node, Map)
        if not _is_text(key):
            self.faults.append(Fault(place, top.path, "a key has a half of a surrogate pair"))
            top.key = key = key.encode(errors="replace").decode()
        first = top.node.keys.get(key)
        if first is not None:
            self.faults.append(
                Fault(
                    place,
                    join(top.path, key),
                    f"the key stands twice, first at {first.line}:{first.column}",
                    "delete one of the two",
                )
            )
        elif key != "<<" or event.style is not None:
            top.node.keys[key] = place
        self._remember(event.anchor, Scalar(place, key, key))

    def _take_alias(self, event: AliasEvent) -> None:
        place = _place(event)
        name = str(event.anchor)
        node = self._anchors.get(name)
        if any(level.anchor == name for level in self._stack):
            raise TextError(Fault(place, self._path(), f"*{name} stands inside of itself"))
        if node is None:
            raise TextError(Fault(place, self._path(), f"*{name}: there is no &{name} before it"))
        top = self._stack[-1] if self._stack else None
        if top and isinstance(top.node, Map) and top.key is None:
            raise TextError(Fault(place, self._path(), "an alias cannot be a key"))
        self._add(node, place)

    def _begin(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        place = _place(event)
        top = self._stack[-1] if self._stack else None
        if top and isinstance(top.node, Map) and top.key is None:
            raise TextError(Fault(place, self._path(), "a key must be one word or text"))
        if len(self._stack) >= MAX_DEPTH:
            raise TextError(
                Fault(place, self._path(), f"more than {MAX_DEPTH} levels inside each other")
            )
        kind = "map" if isinstance(event, MappingStartEvent) else "seq"
        if event.ctag is not None and str(event.ctag) not in ("!", _TAG + kind):
            self.faults.append(_unknown_tag(event, place, self._path()))
        node = Map(place) if isinstance(event, MappingStartEvent) else List(place)
        self._stack.append(_Open(node, event.anchor, self._path()))

    def _end(self) -> None:
        level = self._stack.pop()
        for merged, place in level.merges:
            self._merge(level, merged, place)
        self._remember(level.anchor, level.node)
        self._add(level.node)

    def _add(self, node: Node, place: Place | None = None) -> None:
        """Hang a finished node below the open one; an alias is checked as what it expands to."""
        if not self._stack:
            self.root = node
            return
        top = self._stack[-1]
        where = place or node.place
        top.node.size += node.size
        top.node.depth = max(top.node.depth, node.depth + 1)
        if top.node.size > MAX_NODES:
            raise TextError(
                Fault(where, self._path(), f"more than {MAX_NODES} values, with its aliases")
            )
        if len(self._stack) + node.depth > MAX_DEPTH + 1:
            raise TextError(
                Fault(where, self._path(), f"more than {MAX_DEPTH} levels inside each other")
            )
        if isinstance(top.node, List):
            top.node.items.append(node)
            return
        key = top.key
        assert key is not None
        if key == "<<" and key not in top.node.keys:
            top.merges.append((node, where))
        else:
            top.node.items.setdefault(key, node)
        top.key = None

    def _merge(self, level: _Open, merged: Node, place: Place) -> None:
        """Take a map's keys where the open map has none of its own (YAML 1.1's merge type)."""
        assert isinstance(level.node, Map)
        sources = merged.items if isinstance(merged, List) else [merged]
        for source in sources:
            if not isinstance(source, Map):
                self.faults.append(
                    Fault(place, join(level.path, "<<"), "expected keys and values to be merged")
                )
                continue
            for key, item in source.items.items():
                if key not in level.node.items:
                    level.node.items[key] = item
                    level.node.keys[key] = source.keys[key]

    def _remember(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _value(self, event: ScalarEvent, place: Place) -> Value:
        text: str = event.value
        tag = None if event.ctag is None else str(event.ctag)
        if not _is_text(text):
            self.faults.append(
                Fault(place, self._path(), "the text has a half of a surrogate pair in it")
            )
            return text.encode(errors="replace").decode()
        if tag in ("!", _TAG + "str") or (tag is None and event.style is not None):
            return text
        if tag is not None and tag.removeprefix(_TAG) not in _TYPES:
            self.faults.append(_unknown_tag(event, place, self._path()))
            return text
        value, fault = _plain_scalar(text)
        if fault is None and tag is not None and type(value) not in _TYPES[tag[len(_TAG) :]]:
            fault = f"{_short(text)} is not what its tag !!{tag[len(_TAG) :]} says"
        if fault is not None:
            self.faults.append(Fault(place, self._path(), fault))
        return value


def _plain_scalar(text: str) -> tuple[Value, str | None]:
    """Return what an unquoted text means by the core schema, and what is wrong with it."""
    if text in _WORDS:
        return _WORDS[text], None
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = int(text, base) if len(text) <= 40 else 1 << 64
        if not -(1 << 63) <= number < 1 << 64:
            return 0, f"the number {text[:40]} has more than 64 bits"
        return number, None
    if _FLOAT.fullmatch(text):
        value = float(text)
        return value, f"the number {text[:40]} is too large" if math.isinf(value) else None
    if _INFINITE.fullmatch(text):
        return 0, f"expected a finite number, found {text}"
    return text, None


def join(path: str, key: str) -> str:
    """Return the path of a key below a path."""
    return f"{path}.{key}" if path else key


def _events(text: str) -> Iterator[Event]:
    """The parser's events; its own errors, of whatever class, as one of ours."""
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except ReaderError as error:
        before = text[: error.position]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        what = f"the character {_code(error.character)} is not allowed in YAML"
        raise TextError(Fault(place, "", what)) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        raise TextError(Fault(place, "", f"not YAML: {_said(error)}", _advice(error))) from error
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, AssertionError,
            OverflowError, NotImplementedError) as error:  # fmt: skip
        # What is no YAMLError is a fault of the parser's own, met on text that is not YAML.
        what = f"not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise TextError(Fault(Place(1, 1), "", what)) from error


def _code(character: str | int) -> str:
    return f"U+{ord(character) if isinstance(character, str) else character:04X}"


def _said(error: MarkedYAMLError) -> str:
    said = [str(part) for part in (error.context, error.problem) if part]
    return " ".join(", ".join(said).split()) or "it cannot be parsed"


def _advice(error: MarkedYAMLError) -> str | None:
    problem = str(error.problem)
    if "\\t" in problem:
        return "indent with spaces"
    if "mapping values are not allowed" in problem:
        return "a text with ': ' in it needs quotes"
    return None


def _unknown_tag(event: ScalarEvent | CollectionStartEvent, place: Place, path: str) -> Fault:
    tag = str(event.ctag).replace(_TAG, "!!")
    return Fault(place, path, f"unknown tag {_short(tag)}", "values need no tags here")


def _place(event: Event) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
