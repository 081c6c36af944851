# SPDX-License-Identifier: Apache-2.0
"""config.txt: what holds for which model, and what is said about the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.firmware.config_txt import MAX_INCLUDES, MAX_LINES, Config, read_config


def config(text: str, *, model: str = "pi4", **others: str) -> Config:
    files = {"config.txt": text, **{f"{name}.txt": body for name, body in others.items()}}
    return read_config("config.txt", files.get, model=model)


def test_later_lines_replace_earlier_ones() -> None:
    read = config("kernel=a\n# kernel=no\n\n  kernel = b \narm_64bit=0\n")
    assert read.values == {"kernel": "b", "arm_64bit": "0"}
    assert not read.on("arm_64bit") and read.on("absent", default=True)


@pytest.mark.parametrize(
    ("text", "pi3", "pi4"),
    [
        ("[pi3]\nkernel=x", "x", None),
        ("[pi4]\nkernel=x", None, "x"),
        ("[pi3]\n[pi4]\nkernel=x", None, "x"),
        ("[pi3+]\nkernel=x", None, None),
        ("[pi5]\nkernel=y\n[all]\nkernel=x", "x", "x"),
        ("[none]\nkernel=x", None, None),
        ("[none]\n[pi4]\nkernel=x", None, None),
        ("[none]\n[pi4]\n[all]\nkernel=x", "x", "x"),
        ("[tryboot]\nkernel=x", None, None),
        ("[tryboot]\n[pi4]\nkernel=x", None, None),
        ("[ALL]\nkernel=x", "x", "x"),
    ],
)
def test_sections(text: str, pi3: str | None, pi4: str | None) -> None:
    assert config(text, model="pi3").values.get("kernel") == pi3
    assert config(text, model="pi4").values.get("kernel") == pi4


def test_a_section_that_is_not_modelled_is_told() -> None:
    read = config("kernel=a\n[gpio4=1]\nkernel=b\n")
    assert read.values["kernel"] == "a"
    assert read.notes == [
        "config.txt, line 2: [gpio4=1]: a filter that is not modelled: the section is skipped"
    ]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("initramfs initrd.img followkernel", ("initrd.img",)),
        ("initramfs a,b,c followkernel", ("a", "b", "c")),
        ("initramfs initrd.img 0x00800000", ("initrd.img",)),
        ("initramfs initrd.img", ()),
        ("initramfs=initrd.img", ()),
        ("initramfs", ()),
    ],
)
def test_initramfs_has_no_equals_sign(line: str, names: tuple[str, ...]) -> None:
    assert config(line).initramfs == names


def test_what_does_nothing_is_told() -> None:
    assert config("initramfs initrd.img").notes == [
        "config.txt, line 1: initramfs without an address or followkernel: ignored"
    ]
    assert config("kernel").notes == ["config.txt, line 1: 'kernel' sets nothing: ignored"]


def test_overlays_are_kept_apart() -> None:
    read = config("dtparam=audio=on\ndtoverlay=disable-bt\ndtoverlay=\n")
    assert read.overlays == ["dtparam=audio=on", "dtoverlay=disable-bt"]
    assert "dtparam" not in read.values


def test_a_long_line_is_cut_as_the_firmware_does() -> None:
    read = config(f"cmdline={'x' * 200}\n")
    assert read.values["cmdline"] == "x" * 90
    assert read.notes == ["config.txt, line 1: cut at 98 characters, as the firmware does"]


def test_other_files_are_included_where_they_stand() -> None:
    read = config("kernel=a\ninclude more.txt\narm_64bit=1", more="kernel=b\n[pi3]\n")
    assert read.values == {"kernel": "b"}
    assert config("include none.txt").notes == ["none.txt: not found"]


def test_includes_end() -> None:
    read = config("include config.txt\nkernel=a\n")
    assert read.values["kernel"] == "a"
    assert f"more than {MAX_INCLUDES} files" in read.notes[0]


def test_lines_end() -> None:
    read = config("kernel=a\n" * MAX_LINES + "kernel=b\n")
    assert read.values["kernel"] == "a"
    assert read.notes == [f"config.txt: more than {MAX_LINES} lines: the rest is ignored"]


@given(st.text())
def test_any_text_is_a_config(text: str) -> None:
    for note in config(text).notes:
        assert note.isprintable()


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["[all]", "[pi3]", "[none]", "[x]", "include config.txt", "initramfs"]),
            st.from_regex(
                r"(kernel|initramfs|include)[ =][a-z.,]* ?(followkernel)?", fullmatch=True
            ),
        ),
        max_size=30,
    )
)
def test_any_lines_are_a_config(lines: list[str]) -> None:
    assert all(name for name in config("\n".join(lines)).initramfs)
