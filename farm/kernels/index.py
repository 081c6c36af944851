# SPDX-License-Identifier: Apache-2.0
"""What a kernel's modules need of each other: depmod's lists, read into one value.

Format source: the manual pages modules.dep(5) and depmod.d(5) of kmod, and what its depmod
writes (`modules.dep`, `modules.softdep`, `modules.alias`, `modules.builtin`,
`modules.builtin.modinfo`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from farm.core.errors import BuildError, UserError
from farm.kernels.ko import module_name

_PLAIN = re.compile(r"[^*?\[]*")


@dataclass(frozen=True)
class Module:
    """One module of a kernel.

    Args:
        path: relative to `lib/modules/RELEASE`, as `modules.dep` has it.
        needs: the modules that must be loaded before it, in the order of `modules.dep`: what
            needs others stands before them.
        before: modules or aliases that it wants loaded before it, where they exist.
        after: modules or aliases that it wants loaded after it, where they exist.
        aliases: patterns of what it is loaded for.
    """

    path: str
    needs: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleIndex:
    """All modules of a kernel by name ('_' for '-'), and the names of the built-in ones."""

    modules: Mapping[str, Module]
    built_in: frozenset[str] = frozenset()
    built_in_aliases: tuple[str, ...] = ()

    def check(self, names: Sequence[str]) -> None:
        """Check that each name is a module or built in.

        Raises:
            UserError: some are not; all are named, with the nearest names that exist.
        """
        unknown = [
            name
            for name in dict.fromkeys(names)
            if normal(name) not in self.modules and normal(name) not in self.built_in
        ]
        if not unknown:
            return
        known = [*self.modules, *self.built_in]
        hints = []
        for name in unknown:
            near = difflib.get_close_matches(normal(name), known, n=3)
            if near:
                hints.append(f"near {name!r} are {', '.join(near)}")
        raise UserError(
            f"the kernel has no module {', '.join(map(repr, unknown))}",
            hint="; ".join(hints) or "names are those of `lsmod`, without .ko",
        )

    def load_order(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the named modules and all that they need, each after what it needs.

        That is what `modprobe` would load, one name after the other; built-in ones are left out.

        Raises:
            UserError: a name is no module of this kernel.
        """
        self.check(names)
        walk = _Walk(self)
        for name in names:
            walk.add(normal(name))
        return tuple(walk.order)

    def wanted(self, name: str) -> tuple[str, ...]:
        """Return the modules that a soft dependency means: a name, or an alias of some.

        Of several providers of an alias only the generic ones are taken, where there are any:
        the others want a CPU that not every board has, and would fail to load there.
        """
        plain = normal(name)
        if plain in self.modules:
            return (plain,)
        if plain in self.built_in or any(_means(a, name) for a in self.built_in_aliases):
            return ()
        providers = [
            module
            for module, facts in self.modules.items()
            if any(_means(alias, name) for alias in facts.aliases)
        ]
        generic = [module for module in providers if module.endswith("_generic")]
        return tuple(sorted(generic or providers))


class _Walk:
    """One depth-first walk over the modules that are to be loaded."""

    def __init__(self, index: ModuleIndex) -> None:
        self._index = index
        self._under_way: set[str] = set()
        self._late: list[str] = []
        self._done: set[str] = set()
        self.order: list[str] = []

    def add(self, name: str) -> None:
        """Put a module, and all that it needs or wishes for, at the end of the order."""
        self._visit(name)
        while self._late:
            self._visit(self._late.pop(0))

    def _visit(self, name: str) -> None:
        facts = self._index.modules.get(name)
        if facts is None or name in self._done:
            return
        self._under_way.add(name)
        for wish in facts.before:
            self._wish(wish)
        for need in reversed(facts.needs):
            self._visit(need)
        self._under_way.discard(name)
        self._done.add(name)
        self.order.append(name)
        for wish in facts.after:
            self._wish(wish)

    def _wish(self, wish: str) -> None:
        """Visit what a soft dependency means; later, where it needs a module under way."""
        for name in self._index.wanted(wish):
            needs = self._index.modules[name].needs
            if self._under_way.isdisjoint((name, *needs)):
                self._visit(name)
            else:
                self._late.append(name)


def normal(name: str) -> str:
    """Return a module's name as the kernel writes it."""
    return name.replace("-", "_")


def read_index(files: Mapping[str, bytes]) -> ModuleIndex:
    """Read depmod's lists.

    Args:
        files: name (`modules.dep`, …) → contents; only `modules.dep` must be there.

    Raises:
        BuildError: there is no `modules.dep`, or a line of it is not understood.
    """
    if "modules.dep" not in files:
        raise BuildError("modules.dep: missing: depmod has not been run over these modules")
    needs: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in _lines(files["modules.dep"]):
        path, colon, rest = line.partition(":")
        name = module_name(path)
        names = [module_name(need) for need in rest.split()]
        if not colon or name is None or None in names:
            raise BuildError(f"modules.dep: line not understood: {line[:120]!r}")
        needs[name] = (path, tuple(need for need in names if need is not None))
    soft = _read_softdep(files.get("modules.softdep", b""))
    aliases = _read_alias(files.get("modules.alias", b""))
    modules = {
        name: Module(path, of, *soft.get(name, ((), ())), aliases.get(name, ()))
        for name, (path, of) in needs.items()
    }
    built_in = {module_name(line) for line in _lines(files.get("modules.builtin", b""))}
    return ModuleIndex(
        modules,
        frozenset(name for name in built_in if name is not None),
        _read_builtin_aliases(files.get("modules.builtin.modinfo", b"")),
    )


def reduced_dep(index: ModuleIndex, names: Sequence[str]) -> str:
    """Return a `modules.dep` of the named modules, uncompressed, in this order."""
    lines = []
    for name in names:
        facts = index.modules[name]
        needs = "".join(f" {plain_path(index.modules[need].path)}" for need in facts.needs)
        lines.append(f"{plain_path(facts.path)}:{needs}\n")
    return "".join(lines)


def reduced_alias(index: ModuleIndex, names: Sequence[str]) -> str:
    """Return a `modules.alias` of the named modules."""
    return "".join(
        f"alias {alias} {name}\n" for name in names for alias in index.modules[name].aliases
    )


def reduced_softdep(index: ModuleIndex, names: Sequence[str]) -> str:
    """Return a `modules.softdep` of the named modules."""
    lines = []
    for name in names:
        facts = index.modules[name]
        before = f" pre: {' '.join(facts.before)}" if facts.before else ""
        after = f" post: {' '.join(facts.after)}" if facts.after else ""
        if before or after:
            lines.append(f"softdep {name}{before}{after}\n")
    return "".join(lines)


def plain_path(path: str) -> str:
    """Return a module's path without the suffix of its compression."""
    return path[: path.rindex(".ko")] + ".ko"


def _means(alias: str, name: str) -> bool:
    """Whether an alias, which may be a pattern, means a name."""
    # Compiling 30,000 patterns takes seconds, and nearly all differ in their first letters.
    plain = _PLAIN.match(alias)
    return plain is not None and name.startswith(plain[0]) and fnmatchcase(name, alias)


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-8", "replace")
    return [line for line in text.split("\n") if line and not line.startswith("#")]


def _read_softdep(data: bytes) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    found: dict[str, tuple[list[str], list[str]]] = {}
    for line in _lines(data):
        words = line.split()
        if len(words) < 3 or words[0] != "softdep":
            continue
        sides = found.setdefault(normal(words[1]), ([], []))
        side: list[str] | None = None
        for word in words[2:]:
            if word in ("pre:", "post:"):
                side = sides[word == "post:"]
            elif side is not None:
                side.append(word)
    return {name: (tuple(before), tuple(after)) for name, (before, after) in found.items()}


def _read_alias(data: bytes) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for line in _lines(data):
        words = line.split()
        if len(words) == 3 and words[0] == "alias":
            found.setdefault(normal(words[2]), []).append(words[1])
    return {name: tuple(aliases) for name, aliases in found.items()}


def _read_builtin_aliases(data: bytes) -> tuple[str, ...]:
    aliases = []
    for item in data.split(b"\0"):
        key, _, value = item.decode("utf-8", "replace").partition("=")
        if key.endswith(".alias"):
            aliases.append(value)
    return tuple(aliases)
