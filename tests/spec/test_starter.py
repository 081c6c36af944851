# SPDX-License-Identifier: Apache-2.0
"""`farm init` makes a project that loads, whole or not at all."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from farm.core.errors import UserError
from farm.spec import starter
from farm.spec.assembly import Assembly
from farm.spec.bench import Bench, Target, VirtualTarget
from farm.spec.load import load, load_text
from farm.spec.project import Project
from farm.spec.starter import create_project


def test_a_new_project_has_all_its_files_and_they_load(tmp_path: Path) -> None:
    folder = tmp_path / "deep/my-project"
    files = create_project(folder)
    assert [str(path.relative_to(folder)) for path in files] == [
        ".gitignore",
        "README.md",
        "assemblies/my.yml",
        "bench.yml",
        "components/greeting/component.yml",
        "components/greeting/greeting.sh",
        "hil/test_boot.py",
        "pytest.ini",
    ]
    project = Project.find(folder / "hil")
    assert project.root == folder
    assembly = load(folder / "assemblies/my.yml", Assembly)
    assert [entry.image for entry in assembly.onboot] == ["farm/dhcp", "farm/greeting"]
    greeting = project.component("farm/greeting")
    sources = [file.source for file in greeting.definition.files if file.source]
    assert sources == ["greeting.sh"]
    assert (greeting.folder / sources[0]).is_file()
    bench = load(project.bench_file(), Bench)
    assert isinstance(bench.targets["rpi4-1"], VirtualTarget)
    assert sorted(path.name for path in tmp_path.joinpath("deep").iterdir()) == ["my-project"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_the_real_bench_in_the_comments_loads_once_they_are_taken_away(tmp_path: Path) -> None:
    create_project(tmp_path / "p")
    text = (tmp_path / "p/bench.yml").read_text()
    text = re.sub(r"^  # (?=(lab|rpi4-2|  .*):|  )", "  ", text, flags=re.MULTILINE)
    bench = load_text(text, "bench.yml", Bench)
    assert isinstance(bench.targets["rpi4-2"], Target)
    assert bench.targets["rpi4-2"].storage.to_host[0] == "sd-mux-ctrl"


def test_an_empty_folder_is_filled_and_stays_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inode = tmp_path.stat().st_ino
    monkeypatch.chdir(tmp_path)
    files = create_project(Path())
    assert Path("README.md") in files
    assert tmp_path.stat().st_ino == inode
    assert Path("assemblies/my.yml").is_file()


def test_what_is_in_the_way_is_named_and_left_alone(tmp_path: Path) -> None:
    for name in "abcdefg":
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match="is not empty: a, b, c, d, e and 2 more"):
        create_project(tmp_path)
    with pytest.raises(UserError, match="there is a file of that name"):
        create_project(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="there is a file of that name"):
        create_project(tmp_path / "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == [*"abcdefg", "link"]


def test_nothing_is_left_behind_when_it_cannot_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="p: cannot be made: "):
        create_project(tmp_path / "file/p")

    def no_space(beside: Path, place: Path) -> None:
        assert (beside / "bench.yml").is_file()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(starter, "_put_in_place", no_space)
    with pytest.raises(UserError, match="p: cannot be made: No space left on device"):
        create_project(tmp_path / "p")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
