# SPDX-License-Identifier: Apache-2.0
"""A validation error of pydantic's as a place in the file and plain words."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Discriminator, Tag, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from farm.spec.model import PATTERN_WORDS, PlacedError
from farm.spec.nodes import Fault, List, Map, Node, Place, Scalar, describe, join

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
}
_COMPARED = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_CHOOSERS = (Discriminator, FieldInfo)
_TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


@dataclass(frozen=True)
class _Spot:
    """Where an error's location leads.

    Args:
        node: what stands there; for a missing key, what it is missing from.
        place, path: where that is.
        around: the models that may stand there.
        others: models that a tag in the file has ruled out; their keys may still be meant.
    """

    node: Node
    place: Place
    path: str
    around: tuple[type[BaseModel], ...]
    others: tuple[type[BaseModel], ...] = ()


def explain(error: ValidationError, root: Node, model: type[BaseModel]) -> Iterator[Fault]:
    """Return every problem that pydantic found, with the place in the file that it is about."""
    for details in error.errors(include_url=False):
        cause = details.get("ctx", {}).get("error")
        if isinstance(cause, PlacedError):
            for below, what in cause.faults:
                spot = _find(root, model, (*details["loc"], *below))
                yield Fault(spot.place, spot.path, what)
        else:
            yield _explain_one(details, root, model)


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return a model's keys as they stand in a file."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _explain_one(details: ErrorDetails, root: Node, model: type[BaseModel]) -> Fault:
    kind, loc = details["type"], details["loc"]
    context: Mapping[str, Any] = details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(root, model, loc)
    spot = _find(root, model, loc)
    found = describe(spot.node)
    if kind == "missing":
        parent = _find(root, model, loc[:-1])
        return Fault(spot.place, spot.path, "is missing", _meaning(parent.around, str(loc[-1])))
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _wrong_choice(spot, context)
    if kind in ("literal_error", "enum"):
        choices = _quoted(str(context["expected"]))
        return Fault(
            spot.place,
            spot.path,
            f"expected {_one_of(choices)}, found {found}",
            _near(_text(spot.node), choices),
        )
    if kind == "value_error":
        return Fault(spot.place, spot.path, str(context["error"]))
    what, hint = _in_words(kind, context, spot.node, details["msg"])
    return Fault(spot.place, spot.path, what, hint)


def _in_words(
    kind: str, context: Mapping[str, Any], node: Node, message: str
) -> tuple[str, str | None]:
    found = describe(node)
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {found}", _advice(kind, node)
    if kind in _COMPARED:
        name, words = _COMPARED[kind]
        return f"expected {words} {context[name]:g}, found {found}", None
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        words = PATTERN_WORDS.get(pattern, f"a text like {pattern}")
        return f"expected {words}, found {found}", None
    if kind == "string_too_short":
        return ("must not be empty" if not _text(node) else "the text is too short"), None
    if kind == "string_too_long":
        return f"expected at most {context['max_length']} characters", None
    if kind == "too_short":
        least, actual = context["min_length"], context["actual_length"]
        return f"expected at least {least}, found {actual or 'none'}", None
    return f"{message[:1].lower()}{message[1:]}; found {found}", None


def _advice(kind: str, node: Node) -> str | None:
    if kind == "string_type" and isinstance(node, Scalar) and node.value is not None:
        return f"write it in quotes: '{node.text[:40]}'"
    if kind.startswith("bool") and (word := _TRUTH.get(_text(node).lower())):
        return f"did you mean {word}?"
    if kind in ("tuple_type", "list_type") and isinstance(node, Scalar) and node.text:
        return f"did you mean [{node.text[:40]}]?"
    if kind.startswith(("int", "float")) and isinstance(node, Scalar):
        bare = re.fullmatch(r"\s*([-+]?[0-9]+)\s*", node.text)
        return f"without quotes: {bare[1]}" if bare else None
    return None


def _unknown_key(root: Node, model: type[BaseModel], loc: tuple[int | str, ...]) -> Fault:
    parent = _find(root, model, loc[:-1])
    key = str(loc[-1])
    place = parent.node.keys.get(key) if isinstance(parent.node, Map) else None
    known = _keys(parent.around)
    near = _near(key, known) or _near(key, _keys(parent.others))
    hint = near or f"known here: {', '.join(known)}"
    return Fault(place or parent.place, join(parent.path, key), "unknown key", hint)


def _keys(models: tuple[type[BaseModel], ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for model in models for key in keys_of(model)))


def _wrong_choice(spot: _Spot, context: Mapping[str, Any]) -> Fault:
    key = str(context["discriminator"]).strip("'")
    choices = _quoted(str(context["expected_tags"])) if "expected_tags" in context else ()
    if not isinstance(spot.node, Map):
        return Fault(
            spot.place, spot.path, f"expected keys and values, found {describe(spot.node)}"
        )
    if not choices:
        choices = tuple(choice for model in spot.around for choice in _choices(model, key))
    path = join(spot.path, key)
    item = spot.node.items.get(key)
    if item is None:
        return Fault(spot.place, path, "is missing", f"one of {', '.join(choices)}")
    what = f"expected {_one_of(choices)}, found {describe(item)}"
    place = item.place if isinstance(item, Scalar) else spot.node.keys[key]
    return Fault(place, path, what, _near(_text(item), choices))


def _find(root: Node, model: type[BaseModel], loc: tuple[int | str, ...]) -> _Spot:
    """Follow a location through the file and the models side by side."""
    node, place, path, key = root, root.place, "", ""
    key_place = place
    leaves, others = _leaves(model), _models(())
    for part in loc:
        tagged = [leaf for tag, leaf in leaves if tag == part]
        if len(leaves) > 1 and tagged:
            others = _models(leaf for leaf in leaves if leaf[1] not in tagged)
            leaves = [(None, leaf) for leaf in tagged]
            continue
        if part == "[key]":
            return _Spot(Scalar(key_place, key, key), key_place, path, ())
        leaves, others = _below(leaves, part), ()
        if isinstance(node, List) and isinstance(part, int) and part < len(node.items):
            node, path = node.items[part], f"{path}[{part}]"
            place = node.place
            continue
        key = str(part)
        path = join(path, key)
        if isinstance(node, Map) and key in node.items:
            place, node = node.keys[key], node.items[key]
            key_place = place
            # A value on the key's own line is what is meant; a block below it is not.
            if isinstance(node, Scalar) and node.place.line == place.line:
                place = node.place
    return _Spot(node, place, path, _models(leaves), others)


_Leaf = tuple[str | None, Any]


def _models(leaves: Iterable[_Leaf]) -> tuple[type[BaseModel], ...]:
    return tuple(leaf for _, leaf in leaves if _is_model(leaf))


def _leaves(annotation: Any, tag: str | None = None) -> list[_Leaf]:  # noqa: ANN401
    """Return the types that an annotation may be, each with the tag that chooses it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *notes = get_args(annotation)
        own = next((note.tag for note in notes if isinstance(note, Tag)), tag)
        by = next((note.discriminator for note in notes if isinstance(note, _CHOOSERS)), None)
        leaves = _leaves(inner, own)
        return [(_tag(leaf, by) or known, leaf) for known, leaf in leaves]
    if origin in (Union, types.UnionType):
        return [leaf for arm in get_args(annotation) for leaf in _leaves(arm, tag)]
    return [(tag, annotation)]


def _below(leaves: list[_Leaf], part: int | str) -> list[_Leaf]:
    found: list[_Leaf] = []
    for _, leaf in leaves:
        origin: object = get_origin(leaf)
        if origin is tuple or origin is list:
            found += _leaves(get_args(leaf)[0])
        elif origin is dict:
            found += _leaves(get_args(leaf)[1])
        elif _is_model(leaf):
            for name, field in leaf.model_fields.items():
                if part in (name, field.alias):
                    arms = _leaves(field.annotation)
                    found += [(_tag(arm, field.discriminator) or tag, arm) for tag, arm in arms]
    return found


def _tag(leaf: Any, discriminator: object) -> str | None:  # noqa: ANN401
    if not isinstance(discriminator, str) or not _is_model(leaf):
        return None
    return next(iter(_choices(leaf, discriminator)), None)


def _choices(model: type[BaseModel], key: str) -> tuple[str, ...]:
    field = model.model_fields.get(key)
    if field is None or get_origin(field.annotation) is not Literal:
        return ()
    return tuple(str(choice) for choice in get_args(field.annotation))


def _is_model(leaf: object) -> bool:
    return isinstance(leaf, type) and issubclass(leaf, BaseModel)


def _meaning(models: tuple[type[BaseModel], ...], key: str) -> str | None:
    """What a missing key is for, where its model says so."""
    for model in models:
        for name, field in model.model_fields.items():
            if key in (name, field.alias):
                return field.description
    return None


def _quoted(expected: str) -> tuple[str, ...]:
    """Take apart pydantic's "'a', 'b' or 'c'"."""
    quoted = re.findall(r"'([^']*)'", expected) or re.split(r", | or ", expected)
    return tuple({"True": "true", "False": "false"}.get(word, word) for word in quoted)


def _one_of(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"


def _near(word: str, known: tuple[str, ...]) -> str | None:
    close = difflib.get_close_matches(word[:80], known, n=1)
    return f"did you mean {close[0]}?" if close else None


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else ""
