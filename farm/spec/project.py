# SPDX-License-Identifier: Apache-2.0
"""A project's folder and what lies in it, with farm's built-in definitions behind it.

    boards/NAME.yml   kernels/NAME.yml   components/NAME/component.yml   assemblies/NAME.yml
    bench.yml         hil/

A project's own definitions come first. The built-in ones are the same folders, at the top of a
checkout of farm or, in an installed farm, inside the package.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import farm
from farm.core.errors import UserError
from farm.spec.board import Board, Family
from farm.spec.component import Component
from farm.spec.kernel import Kernel
from farm.spec.load import load, load_one_of, problem_at

_MARKS = (
    "boards/*.yml",
    "kernels/*.yml",
    "components/*/component.yml",
    "assemblies/*.yml",
    "bench.yml",
)


@dataclass(frozen=True)
class FoundKernel:
    """A kernel's definition, and the file that it stands in."""

    definition: Kernel
    path: Path


@dataclass(frozen=True)
class FoundComponent:
    """A component's definition, and the folder that its `source` paths start from."""

    definition: Component
    folder: Path


@dataclass(frozen=True)
class Project:
    """Where definitions are looked for.

    Args:
        root: the project's folder; it may lack any of the folders.
        builtin: the folder of the built-in definitions.
    """

    root: Path
    builtin: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """Return the project that `start` (the current folder, where None) lies in.

        That is the nearest folder upward that holds a definition or a `bench.yml`; the root of
        the file system and the user's home are never one. Without any, `start` itself is it.
        """
        here = (start or Path()).absolute()
        for folder in (here, *here.parents):
            if folder == Path(folder.anchor) or folder == _home():
                break
            if any(next(folder.glob(mark), None) for mark in _MARKS):
                return cls(folder, builtin_folder())
        return cls(here, builtin_folder())

    def boards(self) -> tuple[str, ...]:
        """The names of all boards and families, sorted."""
        return tuple(sorted(self._files("boards", "*.yml")))

    def kernels(self) -> tuple[str, ...]:
        """The names of all kernels, sorted."""
        return tuple(sorted(self._files("kernels", "*.yml")))

    def components(self) -> tuple[str, ...]:
        """The names of all components, sorted."""
        return tuple(sorted(self._files("components", "*/component.yml")))

    def board(self, name: str) -> Board | Family:
        """Return a board's or family's definition.

        Raises:
            UserError: there is no such board, or its file has problems.
        """
        path = self._file("board", name, "boards", "*.yml")
        board = load_one_of(path, _board_or_family)
        _check_name(path, name, board.name)
        return board

    def one_board(self, name: str) -> Board:
        """Return a board's definition, where a family will not do.

        Raises:
            UserError: there is no such board, it is a family, or its file has problems.
        """
        board = self.board(name)
        if isinstance(board, Family):
            raise UserError(
                f"board {name!r} is a family",
                hint=f"name one of its boards: {', '.join(board.family)}; the family's image "
                "serves each",
            )
        return board

    def assembly_file(self, given: Path) -> Path:
        """Return an assembly's file: as given, else the project's or built-in one of that path
        or name.

        Raises:
            UserError: there is none.
        """
        if given.is_file():
            return given
        if not given.is_absolute() and ".." not in given.parts:
            for root in reversed(self._roots):
                for path in (root / given, root / "assemblies" / f"{given}.yml"):
                    if path.is_file():
                        return path
        known = sorted(self._files("assemblies", "*.yml"))
        raise UserError(
            f"{given}: no such assembly",
            hint=f"built-in ones and the project's: {', '.join(known)}",
        )

    def members(self, board: Board | Family) -> tuple[Board, ...]:
        """Return the boards of a family, in its order; of a board, itself.

        Raises:
            UserError: a member does not exist, is a family itself or has another architecture.
        """
        if isinstance(board, Board):
            return (board,)
        members: list[Board] = []
        for name in board.family:
            member = self.board(name)
            if isinstance(member, Family):
                raise UserError(
                    f"board {board.name!r}: its member {name!r} is a family itself",
                    hint="name the boards of that family",
                )
            members.append(member)
        if len({member.arch for member in members}) > 1:
            listed = ", ".join(f"{member.name} is {member.arch}" for member in members)
            raise UserError(
                f"board {board.name!r}: one image cannot serve several architectures: {listed}"
            )
        return tuple(members)

    def kernel(self, name: str) -> FoundKernel:
        """Return a kernel's definition; `farm/NAME` means the same as `NAME`.

        Raises:
            UserError: there is no such kernel, or its file has problems.
        """
        name = name.removeprefix("farm/")
        path = self._file("kernel", name, "kernels", "*.yml")
        kernel = load(path, Kernel)
        _check_name(path, name, kernel.name)
        return FoundKernel(kernel, path)

    def component(self, name: str) -> FoundComponent:
        """Return a component's definition; `farm/NAME` means the same as `NAME`.

        Raises:
            UserError: there is no such component, or its file has problems.
        """
        name = name.removeprefix("farm/")
        path = self._file("component", name, "components", "*/component.yml")
        component = load(path, Component)
        _check_name(path, name, component.name)
        return FoundComponent(component, path.parent)

    def bench_file(self, given: Path | None = None) -> Path:
        """Return the bench's file: `given`, else the project's `bench.yml`, else the virtual one.

        Raises:
            UserError: `given` does not exist.
        """
        if given is not None:
            if not given.exists():
                raise UserError(f"{given}: no such file")
            return given.absolute()
        for path in (
            self.root / "bench.yml",
            self.root / "hil" / "bench-virtual.yml",
            self.builtin / "hil" / "bench-virtual.yml",
        ):
            if path.is_file():
                return path
        raise UserError(
            f"{self.root}: there is no bench.yml", hint="`farm init` makes one, with comments"
        )

    @property
    def _roots(self) -> tuple[Path, ...]:
        """From the last to be asked to the first."""
        return (self.builtin, self.root) if self.root != self.builtin else (self.builtin,)

    def _files(self, folder: str, pattern: str) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for root in self._roots:
            for path in (root / folder).glob(pattern):
                found[path.parent.name if "/" in pattern else path.stem] = path
        return found

    def _file(self, kind: str, name: str, folder: str, pattern: str) -> Path:
        relative = pattern.replace("*", name)
        if "/" not in name and name not in ("", ".", ".."):
            for root in reversed(self._roots):
                path = root / folder / relative
                if path.is_file():
                    return path
        known = sorted(self._files(folder, pattern))
        raise UserError(f"unknown {kind} {name!r}", hint=_known(name, known))


def builtin_folder() -> Path:
    """The folder that has the built-in boards, kernels, components, assemblies and hil."""
    package = Path(farm.__file__).parent
    inside = package / "builtin"
    return inside if inside.is_dir() else package.parent


def _board_or_family(keys: Iterable[str]) -> type[Board] | type[Family]:
    return Family if "family" in keys else Board


def _check_name(path: Path, expected: str, name: str) -> None:
    if name != expected:
        what = f"expected {expected!r}, as the file or its folder is called, found {name!r}"
        raise problem_at(path, "name", what)


def _known(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"{meant}known: {', '.join(known) if known else 'none'}"


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None
