# SPDX-License-Identifier: Apache-2.0
"""Taking only what is wanted out of Debian packages: named files, and what they link.

A package's dependencies are far more than its programs need to run (dropbear's would bring perl).
So packages are opened one after the other: those that the component names, then, for each shared
library that is still missing, the package whose name Debian's policy gives it, then the others
that the named ones depend on. What a program loads by itself at run time (plug-ins, name-service
modules) cannot be seen in it and is named like any other file.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from farm.components.elf import elf_needs
from farm.core.arch import Arch
from farm.core.errors import BuildError, UserError
from farm.debian import Package, merged_path
from farm.oci.tree import Entry, Kind, Tree

_MAX_LINKS = 40
_SONAME = re.compile(r"(?P<base>lib.+?)(-(?P<dashed>[0-9.]+))?\.so(\.(?P<version>[0-9.]+))?")


@dataclass(frozen=True)
class Collected:
    """What was taken.

    Args:
        files: the entries.
        packages: name and version of each package that one came from.
    """

    files: tuple[Entry, ...]
    packages: tuple[tuple[str, str], ...]


def collect(
    patterns: Sequence[str],
    named: Sequence[Package],
    closure: Sequence[Package],
    *,
    arch: Arch,
    open_packages: Callable[[Sequence[Package]], Sequence[Tree]],
) -> Collected:
    """Take files out of packages, with the libraries that they link.

    Args:
        patterns: absolute paths or globs (`*` and `?` within a folder, `**` across folders) of
            files in the named packages; a folder brings what is in it; links are followed.
        named: the packages that the files are in.
        closure: all packages that these depend on.
        arch: what the files run on.
        open_packages: returns the trees of packages, fetching them.

    Raises:
        UserError: no named package has such a file.
        BuildError: a library is in no package of the closure.
    """
    return _Collector(named, closure, arch, open_packages).collect(patterns)


class _Collector:
    def __init__(
        self,
        named: Sequence[Package],
        closure: Sequence[Package],
        arch: Arch,
        open_packages: Callable[[Sequence[Package]], Sequence[Tree]],
    ) -> None:
        self._named = named
        self._closed = [package for package in closure if package not in named]
        self._folders = (f"usr/lib/{arch.to_gnu()}", "usr/lib", "usr/lib64")
        self._open_packages = open_packages
        self._files: dict[str, tuple[Entry, Package]] = {}
        self._children: dict[str, list[str]] = {}
        self._taken: dict[str, tuple[Entry, Package]] = {}
        self._unread: list[str] = []

    def collect(self, patterns: Sequence[str]) -> Collected:
        self._open(self._named)
        for pattern in patterns:
            self._take_pattern(pattern)
        missing = self._link(self._unread)
        for candidates in (self._by_policy, self._libraries, self._all):
            # One more library may need another of the same sort: until nothing new comes.
            while missing and (more := candidates(missing)):
                self._open(more)
                missing = self._link([path for path, _ in missing])
        if missing:
            path, wanted = missing[0]
            names = ", ".join(package.name for package in self._named)
            raise BuildError(
                f"{path} needs {wanted}, which no package has that {names} depends on",
                hint="name the package that has it",
            )
        return Collected(
            files=tuple(entry for entry, _ in self._taken.values()),
            packages=tuple(
                sorted({(owner.name, owner.version) for _, owner in self._taken.values()})
            ),
        )

    # --- packages ---

    def _open(self, packages: Sequence[Package]) -> None:
        self._closed = [package for package in self._closed if package not in packages]
        for package, tree in zip(packages, self._open_packages(packages), strict=True):
            for entry in tree:
                if entry.path not in self._files:
                    self._files[entry.path] = entry, package
                    parent = posixpath.dirname(entry.path)
                    self._children.setdefault(parent, []).append(entry.path)

    def _by_policy(self, missing: Sequence[tuple[str, str]]) -> list[Package]:
        names = {name for _, wanted in missing for name in _package_names(wanted)}
        return [package for package in self._closed if package.name in names]

    def _libraries(self, missing: Sequence[tuple[str, str]]) -> list[Package]:
        return [package for package in self._closed if "lib" in package.name]

    def _all(self, missing: Sequence[tuple[str, str]]) -> list[Package]:
        return list(self._closed)

    # --- files ---

    def _take_pattern(self, pattern: str) -> None:
        path = merged_path(posixpath.normpath(pattern).lstrip("/"))
        if not any(sign in path for sign in "*?"):
            if path not in self._files and self._walk(path)[-1] not in self._files:
                raise self._no_file(pattern, path)
            self._take(path)
            return
        expression = re.compile(_expression(path))
        found = [known for known in self._files if expression.fullmatch(known)]
        if not found:
            raise self._no_file(pattern, path)
        for one in found:
            self._take(one, strict=False)

    def _take(self, path: str, *, strict: bool = True) -> None:
        """Take a path, the links on its way, and what is in it where it is a folder."""
        for step in self._walk(path):
            if step not in self._files:
                if strict:
                    raise BuildError(
                        f"/{path} leads to /{step}, which none of its packages has",
                        hint="name the package that has it, or give the file yourself",
                    )
                continue
            if step not in self._taken:
                self._taken[step] = self._files[step]
                self._unread.append(step)
                if self._files[step][0].kind is Kind.FOLDER:
                    for child in self._children.get(step, ()):
                        self._take(child, strict=False)

    def _walk(self, path: str) -> list[str]:
        """Return each link on a path's way, and the last path, which may not exist."""
        steps: list[str] = []
        at = ""
        waiting = list(reversed(path.split("/")))
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                at = posixpath.dirname(at)
                continue
            here = merged_path(f"{at}/{name}" if at else name)
            entry, _ = self._files.get(here, (None, None))
            if entry is None or entry.kind is not Kind.SYMLINK:
                at = here
                continue
            steps.append(here)
            if len(steps) > _MAX_LINKS:
                raise BuildError(f"/{path}: too many symbolic links on its way")
            if entry.target.startswith("/"):
                at = ""
            waiting.extend(reversed(entry.target.split("/")))
        return [*steps, at]

    def _no_file(self, pattern: str, path: str) -> UserError:
        names = ", ".join(package.name for package in self._named)
        same = [
            known for known in self._files if posixpath.basename(known) == posixpath.basename(path)
        ]
        near = same or difflib.get_close_matches(path, self._files, n=1, cutoff=0.5)
        return UserError(
            f"{pattern}: no such file in {names}",
            hint=f"the nearest is /{near[0]}" if near else f"dpkg-deb --contents lists {names}",
        )

    # --- libraries ---

    def _link(self, paths: Sequence[str]) -> list[tuple[str, str]]:
        """Take what files need; return who misses what."""
        missing: list[tuple[str, str]] = []
        self._unread = list(dict.fromkeys(paths))
        done: set[str] = set()
        while self._unread:
            path = self._unread.pop()
            if path in done:
                continue
            done.add(path)
            missing += ((path, wanted) for wanted in self._missing_of(path))
        return sorted(set(missing))

    def _missing_of(self, path: str) -> Iterator[str]:
        needs = elf_needs(self._taken[path][0])
        if needs is None:
            return
        if needs.interpreter:
            linker = merged_path(needs.interpreter.lstrip("/"))
            if self._walk(linker)[-1] in self._files:
                self._take(linker)
            else:
                yield needs.interpreter
        own = posixpath.dirname(path)
        folders = [
            merged_path(
                posixpath.normpath(re.sub(r"\$\{?ORIGIN\}?", f"/{own}", folder)).lstrip("/")
            )
            for folder in needs.folders
        ]
        for library in needs.libraries:
            for folder in (*folders, *self._folders):
                if self._walk(f"{folder}/{library}")[-1] in self._files:
                    self._take(f"{folder}/{library}")
                    break
            else:
                yield library


def _package_names(wanted: str) -> Iterator[str]:
    """The names that Debian's policy, section 8.1, gives the package of a shared library."""
    if wanted.startswith(("/", "ld-")):
        # The dynamic linker is part of the C library.
        yield "libc6"
        return
    found = _SONAME.fullmatch(wanted)
    if found is None:
        return
    base = found["base"].lower().replace("_", "-")
    version = found["version"] or found["dashed"] or ""
    if found["dashed"] and found["version"]:
        version = f"{found['dashed']}-{found['version']}"
    name = f"{base}-{version}" if base[-1].isdigit() and version else f"{base}{version}"
    # Those whose 64-bit time changed their interface.
    yield from (name, f"{name}t64")


def _expression(glob: str) -> str:
    parts = re.split(r"(\*\*|\*|\?)", glob)
    meaning = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meaning.get(part, re.escape(part)) for part in parts)
