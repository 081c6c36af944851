# SPDX-License-Identifier: Apache-2.0
"""Where definitions are found, and what is said where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.core.errors import UserError
from farm.spec.board import Board, Family
from farm.spec.load import SpecError
from farm.spec.project import Project, builtin_folder

COMPONENT = "format: 1\nname: {name}\nsummary: {summary}\n"
BOARD = (
    "format: 1\nname: {name}\ntitle: {name}\narch: {arch}\ncmdline: ''\n"
    "firmware: {{kind: extlinux}}\n"
)
FAMILY = "format: 1\nname: {name}\ntitle: {name}\nfamily: [{members}]\n"
KERNEL = "format: 1\nname: {name}\nsummary: s\ndebian: {{packages: {{arm64: linux}}}}\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project and built-in definitions, with one component in both."""
    root, builtin = tmp_path / "project", tmp_path / "builtin"
    for folder, summary in ((root, "own"), (builtin, "built in")):
        text = COMPONENT.format(name="sshd", summary=summary)
        put(folder / "components/sshd/component.yml", text)
    put(builtin / "components/hello/component.yml", COMPONENT.format(name="hello", summary="x"))
    put(builtin / "kernels/debian.yml", KERNEL.format(name="debian"))
    put(builtin / "hil/bench-virtual.yml", "format: 1\n")
    for name, arch in (("one", "arm64"), ("two", "arm64"), ("old", "armv7")):
        put(builtin / f"boards/{name}.yml", BOARD.format(name=name, arch=arch))
    put(root / "boards/both.yml", FAMILY.format(name="both", members="two, one"))
    put(root / "boards/mixed.yml", FAMILY.format(name="mixed", members="one, old"))
    put(root / "boards/nested.yml", FAMILY.format(name="nested", members="both, one"))
    return Project(root, builtin)


def test_a_projects_own_definitions_come_first(project: Project) -> None:
    own = project.component("sshd")
    assert own.definition.summary == "own"
    assert own.folder == project.root / "components/sshd"
    assert project.component("farm/hello").folder == project.builtin / "components/hello"
    assert project.kernel("farm/debian").path == project.builtin / "kernels/debian.yml"


def test_names_of_both_are_listed_once(project: Project) -> None:
    assert project.components() == ("hello", "sshd")
    assert project.kernels() == ("debian",)
    assert project.boards() == ("both", "mixed", "nested", "old", "one", "two")


def test_members_of_a_board_and_of_a_family(project: Project) -> None:
    one, both = project.board("one"), project.board("both")
    assert isinstance(one, Board)
    assert isinstance(both, Family)
    assert project.members(one) == (one,)
    assert [member.name for member in project.members(both)] == ["two", "one"]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mixed", "one image cannot serve several architectures: one is arm64, old is arm"),
        ("nested", "its member 'both' is a family itself"),
    ],
)
def test_families_that_cannot_be(project: Project, name: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        project.members(project.board(name))


def test_an_unknown_name_lists_what_there_is_and_the_nearest(project: Project) -> None:
    with pytest.raises(UserError, match="unknown component 'ssdh'") as caught:
        project.component("farm/ssdh")
    assert caught.value.hint == "did you mean 'sshd'? known: hello, sshd"
    with pytest.raises(UserError, match="unknown board 'zzz'") as caught:
        project.board("zzz")
    assert caught.value.hint == "known: both, mixed, nested, old, one, two"
    with pytest.raises(UserError, match="unknown kernel"):
        project.kernel("debain")


@pytest.mark.parametrize("name", ["", ".", "..", "../components/sshd", "a/b", "/etc/passwd", "*"])
def test_a_name_never_leaves_its_folder(project: Project, name: str) -> None:
    with pytest.raises(UserError, match="unknown component"):
        project.component(name)
    with pytest.raises(UserError, match="unknown board"):
        project.board(name)


def test_a_definition_has_the_name_of_its_file(project: Project) -> None:
    put(project.root / "boards/three.yml", BOARD.format(name="four", arch="arm64"))
    with pytest.raises(SpecError, match=r"three\.yml:2:7: name: expected 'three', .* 'four'"):
        project.board("three")


def test_a_boards_problems_are_told(project: Project) -> None:
    put(project.root / "boards/bad.yml", "format: 1\nname: bad\ntitle: t\nfamly: [a, b]\n")
    with pytest.raises(SpecError, match=r"bad\.yml:4:1: famly: unknown key"):
        project.board("bad")


def test_a_project_is_found_from_anywhere_inside(project: Project) -> None:
    inside = project.root / "components/sshd/deep"
    inside.mkdir()
    assert Project.find(inside).root == project.root
    assert Project.find(project.root).root == project.root
    assert Project.find(project.root).builtin == builtin_folder()


def test_a_folder_that_is_in_no_project_stands_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home/work").mkdir(parents=True)
    put(tmp_path / "home/bench.yml", "format: 1\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Project.find(tmp_path / "home/work").root == tmp_path / "home/work"
    monkeypatch.chdir(tmp_path / "home/work")
    assert Project.find().root == tmp_path / "home/work"
    (tmp_path / "home/work/boards").mkdir()
    (tmp_path / "home/work/sub").mkdir()
    assert Project.find(tmp_path / "home/work/sub").root == tmp_path / "home/work/sub"


def test_the_benchs_file_is_the_given_one_the_projects_or_the_virtual_one(
    project: Project,
) -> None:
    assert project.bench_file() == project.builtin / "hil/bench-virtual.yml"
    own = put(project.root / "hil/bench-virtual.yml", "format: 1\n")
    assert project.bench_file() == own
    own = put(project.root / "bench.yml", "format: 1\n")
    assert project.bench_file() == own
    assert project.bench_file(own) == own
    with pytest.raises(UserError, match="no such file"):
        project.bench_file(project.root / "lab.yml")


def test_where_one_board_is_wanted_a_family_will_not_do(project: Project) -> None:
    assert project.one_board("one").name == "one"
    with pytest.raises(UserError, match="'both' is a family") as caught:
        project.one_board("both")
    assert "two, one" in (caught.value.hint or "")


def test_an_assembly_is_found_by_path_and_by_name(project: Project, tmp_path: Path) -> None:
    for root, name in ((project.builtin, "a"), (project.builtin, "b"), (project.root, "b")):
        put(root / f"assemblies/{name}.yml", "format: 1\n")
    elsewhere = put(tmp_path / "elsewhere.yml", "format: 1\n")
    assert project.assembly_file(elsewhere) == elsewhere
    assert project.assembly_file(Path("a")) == project.builtin / "assemblies/a.yml"
    assert project.assembly_file(Path("assemblies/a.yml")).is_relative_to(project.builtin)
    assert project.assembly_file(Path("b")) == project.root / "assemblies/b.yml"
    for absent in ("c", "../elsewhere", "/b"):
        with pytest.raises(UserError, match="no such assembly") as caught:
            project.assembly_file(Path(absent))
        assert caught.value.hint == "built-in ones and the project's: a, b"
