# SPDX-License-Identifier: Apache-2.0
"""Loading: every problem of a file at once, each with its place and in plain words."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from farm.core.arch import Arch
from farm.core.errors import ExitCode, UserError
from farm.spec.assembly import Assembly
from farm.spec.bench import Bench, Target, VirtualTarget
from farm.spec.board import Board
from farm.spec.component import Component
from farm.spec.kernel import Kernel
from farm.spec.load import SpecError, load, load_text
from farm.spec.model import Model


def problems(text: str, model: type[Model] = Assembly) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_text(textwrap.dedent(text), "a.yml", model)
    assert caught.value.exit_code is ExitCode.USAGE
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return [str(problem) for problem in caught.value.problems]


def test_all_problems_of_an_assembly_are_listed_in_the_order_of_the_file() -> None:
    found = problems(
        """\
        kernle:
          image: farm/debian
        kernel: farm/debian
        init: farm/init
        onboot:
          - name: dhcp
            image: 5
            capabilites: [all]
            readonly: yes
          - image: a
        services:
          - name: Hello
            image: farm/hello
            health: {comand: [x], timeout_s: -1}
          - name: x
            image: a
            runtime: {mkdir: /x}
        files:
          - path: ../x
            contents: a
          - path: /x
            contents: a
            mode: 0644
        """
    )
    name = (
        "expected a name of at most 64 small letters, digits, '-', '_' and '.', "
        "with a letter or digit at both ends, found the text 'Hello'"
    )
    assert found == [
        "a.yml:1:1: kernle: unknown key (did you mean kernel?)",
        "a.yml:3:9: kernel: expected keys and values, found the text 'farm/debian'",
        "a.yml:4:7: init: expected a list, found the text 'farm/init' (did you mean [farm/init]?)",
        (
            "a.yml:7:12: onboot[0].image: expected a text, found the number 5 "
            "(write it in quotes: '5')"
        ),
        "a.yml:8:5: onboot[0].capabilites: unknown key (did you mean capabilities?)",
        (
            "a.yml:9:15: onboot[0].readonly: expected true or false, found the text 'yes' "
            "(did you mean true?)"
        ),
        "a.yml:10:5: onboot[1].name: is missing (names the container; once among the services)",
        f"a.yml:12:11: services[0].name: {name}",
        (
            "a.yml:14:5: services[0].health.command: is missing "
            "(run in the container; exit code 0 means that it is up)"
        ),
        "a.yml:14:14: services[0].health.comand: unknown key (did you mean command?)",
        "a.yml:14:38: services[0].health.timeout_s: expected more than 0, found the number -1",
        (
            "a.yml:17:22: services[1].runtime.mkdir: expected a list, found the text '/x' "
            "(did you mean [/x]?)"
        ),
        "a.yml:19:11: files[0].path: '..' leads out of the root filesystem",
        (
            "a.yml:23:11: files[1].mode: expected a text, found the number 0644 "
            "(write it in quotes: '0644')"
        ),
    ]


def test_keys_with_a_dot_are_suggested_as_they_are_written() -> None:
    text = """\
        kernel: {image: a}
        services: [{name: a, image: b, capabilitie.add: [all]}]
        """
    assert problems(text) == [
        "a.yml:2:32: services[0].capabilitie.add: unknown key (did you mean capabilities.add?)"
    ]


def test_a_key_like_no_other_is_told_which_ones_are_known() -> None:
    assert problems("kernel: {image: a, zzz: 1}") == [
        "a.yml:1:20: kernel.zzz: unknown key (known here: image, cmdline)"
    ]


def test_two_services_of_one_name_are_refused_where_the_second_one_stands() -> None:
    found = problems(
        """\
        kernel: {image: a}
        onboot: [{name: a, image: b}, {name: a, image: b}]
        services:
          - {name: a, image: b}
          - {name: a, image: c}
        """
    )
    assert found == ["a.yml:5:12: services[1].name: the name 'a' is taken by services[0]"]


def test_a_files_entry_has_one_kind() -> None:
    found = problems("kernel: {image: a}\nfiles: [{path: a, contents: b, directory: true}]\n")
    assert found == [
        (
            "a.yml:2:9: files[0]: exactly one of directory, symlink, contents, source and metadata "
            "is needed"
        )
    ]


def test_choices_of_a_bench_are_named_and_the_right_models_keys_are_suggested() -> None:
    found = problems(
        """\
        format: 2
        hosts:
          a: {kind: lopback}
          b: {address: x}
          c: {kind: ssh, adress: x, port: 0}
        targets:
          x:
            board: rpi4
            host: a
            vitual: true
          Z: {board: rpi4, host: a, virtual: false}
        """,
        Bench,
    )
    assert [line for line in found if ":11:" not in line] == [
        "a.yml:1:9: format: expected 1, found the number 2",
        (
            "a.yml:3:13: hosts.a.kind: expected one of ssh, loopback, found the text 'lopback' "
            "(did you mean loopback?)"
        ),
        "a.yml:4:3: hosts.b.kind: is missing (one of ssh, loopback)",
        "a.yml:5:3: hosts.c.address: is missing (its name or address for SSH)",
        "a.yml:5:18: hosts.c.adress: unknown key (did you mean address?)",
        "a.yml:5:35: hosts.c.port: expected at least 1, found the number 0",
        "a.yml:7:3: targets.x.virtual: is missing (true: a virtual board of the host)",
        "a.yml:10:5: targets.x.vitual: unknown key (did you mean virtual?)",
    ]
    assert "a.yml:11:38: targets.Z.virtual: expected true, found false" in found
    assert any(line.startswith("a.yml:11:3: targets.Z: expected a name") for line in found)


def test_a_benchs_own_checks_are_placed_too() -> None:
    found = problems(
        """\
        format: 1
        hosts: {lab: {kind: ssh, address: lab.example}}
        targets:
          a: {board: rpi4, host: lba, virtual: true}
          b: {board: rpi4, host: lab, virtual: true}
        """,
        Bench,
    )
    assert found == [
        "a.yml:4:26: targets.a.host: there is no host 'lba'; hosts: lab",
        "a.yml:5:26: targets.b.host: a virtual board needs a host with kind: loopback",
    ]


def test_a_target_is_virtual_or_attached() -> None:
    bench = load_text(
        textwrap.dedent(
            """\
            format: 1
            hosts: {here: {kind: loopback}}
            targets:
              a: {board: rpi4, host: here, virtual: true}
              b:
                board: rpi4
                host: here
                power: {driver: http, on: /on, off: /off, state: /state}
                console: {port: 2001}
                storage: {device: /dev/disk/by-id/usb-mux_1, to_host: [a], to_board: [b]}
                network: {driver: forwarded, ports: {22: 2022}}
            """
        ),
        "bench.yml",
        Bench,
    )
    assert isinstance(bench.targets["a"], VirtualTarget)
    attached = bench.targets["b"]
    assert isinstance(attached, Target)
    assert attached.network is not None
    assert attached.network.driver == "forwarded"
    assert attached.network.ports == {22: 2022}


@pytest.mark.parametrize(
    ("device", "allowed"),
    [
        ("/dev/disk/by-id/usb-mux_1", True),
        ("/dev/disk/by-path/pci-0:1", True),
        ("/srv/cards/one.img", True),
        ("/dev/sda", False),
        ("/dev/disk/by-id/../../sda", False),
        ("//dev/mmcblk0", False),
    ],
)
def test_a_card_has_a_lasting_name(device: str, allowed: bool) -> None:
    text = textwrap.dedent(
        f"""\
        format: 1
        hosts: {{h: {{kind: ssh, address: h}}}}
        targets:
          t:
            board: rpi4
            host: h
            power: {{driver: http, on: /on, off: /off, state: /state}}
            console: {{port: 2001}}
            storage: {{device: {device}, to_host: [a], to_board: [b]}}
        """
    )
    if allowed:
        load_text(text, "bench.yml", Bench)
    else:
        (found,) = problems(text, Bench)
        assert "targets.t.storage.device" in found and "/dev/disk/by-id" in found


def test_architectures_are_taken_in_any_spelling() -> None:
    text = (
        "format: 1\nname: k\nsummary: s\n"
        "debian: {packages: {aarch64: a, armv7: b}, suites: {amd64: bookworm}}\n"
    )
    kernel = load_text(text, "k.yml", Kernel)
    assert kernel.debian.packages == {Arch.ARM64: "a", Arch.ARM: "b"}
    assert kernel.debian.suites == {Arch.X86_64: "bookworm"}
    found = problems(text.replace("aarch64", "aach64"), Kernel)
    assert found[0].startswith("a.yml:4:21: debian.packages.aach64: unknown architecture 'aach64'")


def test_a_boards_firmware_is_one_of_its_kinds() -> None:
    found = problems(
        """\
        format: 1
        name: a
        title: A
        arch: arm64
        cmdline: x
        firmware: {kind: raspbery, image: a}
        """,
        Board,
    )
    assert found == [
        (
            "a.yml:6:18: firmware.kind: expected one of raspberrypi, extlinux, "
            "found the text 'raspbery' (did you mean raspberrypi?)"
        )
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a.yml:1:1: the file is empty"),
        ("# only a comment\n", "a.yml:1:1: the file is empty"),
        ("- a\n", "a.yml:1:1: expected keys and values, found a list"),
        ("5\n", "a.yml:1:1: expected keys and values, found the number 5"),
        ("a: [\n", "a.yml:2:1: not YAML: while parsing a flow node"),
        ("a:\n\t- b\n", "a.yml:2:1: not YAML: while scanning for the next token"),
        ("a: b: c\n", "a.yml:1:5: not YAML: mapping values are not allowed here"),
        ("x: \x01\n", "a.yml:1:4: the character U+0001 is not allowed in YAML"),
        ("a: &a [*a]\n", "a.yml:1:8: a[0]: *a stands inside of itself"),
        ("a: *b\n", "a.yml:1:4: a: *b: there is no &b before it"),
        ("? [a]\n: b\n", "a.yml:1:3: a key must be one word or text"),
        ("a: 1\n---\nb: 1\n", "a.yml:2:1: a second document begins here; one is expected"),
    ],
)
def test_text_that_is_no_such_file_is_one_problem(text: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_text(text, "a.yml", Assembly)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ('"\\uD800"', "the text has a half of a surrogate pair in it"),
        ("!!python/object x", "unknown tag '!!python/object'"),
        ("99999999999999999999999", "has more than 64 bits"),
        ("1e999", "the number 1e999 is too large"),
        (".inf", "expected a finite number, found .inf"),
        ("!!int x", "'x' is not what its tag !!int says"),
    ],
)
def test_values_that_no_model_takes_are_placed(value: str, what: str) -> None:
    found = problems(f"kernel: {{image: a}}\ninit: [{value}]\n")
    assert any(line.startswith("a.yml:2:8: init[0]: ") and what in line for line in found)


def test_a_key_that_stands_twice_names_both_places() -> None:
    assert problems("kernel:\n  image: a\n  image: b\n") == [
        "a.yml:3:3: kernel.image: the key stands twice, first at 2:3 (delete one of the two)"
    ]


def test_aliases_are_bounded_before_they_are_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    found = problems("\n".join(lines))
    assert len(found) == 1
    assert "more than 50000 values, with its aliases" in found[0]


def test_depth_is_bounded() -> None:
    assert "more than 32 levels inside each other" in problems("a: " + "[" * 5000)[0]
    chain = "\n".join(["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60)])
    assert "more than 32 levels inside each other" in problems(chain)[0]


def test_merge_keys_and_scalars_are_those_of_linuxkits_files() -> None:
    assembly = load_text(
        textwrap.dedent(
            """\
            kernel: {image: k}
            services:
              - &base {"name": "one", image: i, "env": ["A=1", 'B=yes'], readonly: true}
              - <<: *base
                name: two
                env:
                  - >-
                    folded
                    text
                  - "1:30"
                  - on
            """
        ),
        "a.yml",
        Assembly,
    )
    two = assembly.services[1]
    assert (two.name, two.image, two.readonly) == ("two", "i", True)
    assert two.env == ("folded text", "1:30", "on")


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    (tmp_path / "origin.yml").write_text("kernel: {image: a}\n")
    with pytest.raises(UserError, match=r"orign\.yml: no such file") as missing:
        load(tmp_path / "orign.yml", Assembly)
    assert missing.value.hint == f"did you mean {tmp_path / 'origin.yml'}?"
    with pytest.raises(UserError, match="is a folder, not a file"):
        load(tmp_path, Assembly)
    (tmp_path / "latin.yml").write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(UserError, match=r"latin\.yml:2: is not text: byte 0xe9"):
        load(tmp_path / "latin.yml", Assembly)
    with pytest.raises(UserError, match="larger than 256 KiB"):
        load(Path("/dev/zero"), Assembly)
    with pytest.raises(UserError, match="cannot be read"):
        load(Path("a\0b"), Assembly)
    (tmp_path / "bom.yml").write_bytes(b"\xef\xbb\xbfkernel: {image: a}\n")
    assert load(tmp_path / "bom.yml", Assembly).kernel.image == "a"


def test_a_long_list_of_problems_is_cut_in_the_message_only() -> None:
    text = "kernel: {image: a}\n" + "".join(f"zz{n}: 1\n" for n in range(80))
    with pytest.raises(SpecError) as caught:
        load_text(text, "a.yml", Assembly)
    assert len(caught.value.problems) == 80
    assert str(caught.value).splitlines()[-1] == "and 30 more"


def test_a_component_refuses_a_need_that_is_not_known() -> None:
    found = problems("format: 1\nname: a\nsummary: s\nneeds: [netwrk]\n", Component)
    assert found == [
        "a.yml:4:9: needs[0]: expected network, found the text 'netwrk' (did you mean network?)"
    ]
