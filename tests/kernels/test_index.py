# SPDX-License-Identifier: Apache-2.0
"""Which modules are needed, in which order: depmod's lists, and modprobe's way through them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.errors import BuildError, UserError
from farm.kernels.index import (
    Module,
    ModuleIndex,
    read_index,
    reduced_alias,
    reduced_dep,
    reduced_softdep,
)

DEP = b"""kernel/fs/ext9.ko.xz: kernel/fs/mbcache.ko.xz kernel/fs/jbd.ko.xz kernel/lib/crc.ko.xz
kernel/fs/mbcache.ko.xz:
kernel/fs/jbd.ko.xz: kernel/lib/crc.ko.xz
kernel/lib/crc.ko.xz:
kernel/crypto/sum_generic.ko.xz:
kernel/crypto/sum-neon.ko.xz:
kernel/net/card.ko.xz:
kernel/net/late-one.ko.xz:
"""
LISTS = {
    "modules.dep": DEP,
    "modules.softdep": b"# made by depmod\nsoftdep crc pre: crypto-sum inside nowhere\n"
    b"softdep card post: late-one\nsoftdep card pre: pci:v1 post: nowhere\n",
    "modules.alias": b"# aliases\nalias crypto-sum sum_generic\nalias crypto-sum sum_neon\n"
    b"alias pci:v*d* card\nalias broken\n",
    "modules.builtin": b"kernel/drivers/virtio-inside.ko\n",
    "modules.builtin.modinfo": b"x.license=GPL\0x.alias=inside\0",
}


@pytest.fixture
def index() -> ModuleIndex:
    return read_index(LISTS)


def test_what_a_module_needs_comes_before_it(index: ModuleIndex) -> None:
    assert index.load_order(["ext9"]) == ("sum_generic", "crc", "jbd", "mbcache", "ext9")


def test_the_order_asked_for_is_kept_where_nothing_else_orders(index: ModuleIndex) -> None:
    assert index.load_order(["mbcache", "card", "crc"]) == (
        "mbcache",
        "card",
        "late_one",
        "sum_generic",
        "crc",
    )
    assert index.load_order(["mbcache", "mbcache", "ext9"])[:1] == ("mbcache",)


def test_a_name_may_be_written_with_either_sign(index: ModuleIndex) -> None:
    assert index.load_order(["late-one"]) == index.load_order(["late_one"]) == ("late_one",)


def test_what_is_built_in_is_there_already(index: ModuleIndex) -> None:
    assert index.load_order(["virtio-inside", "virtio_inside"]) == ()


def test_unknown_modules_are_all_named_with_near_ones(index: ModuleIndex) -> None:
    with pytest.raises(UserError) as caught:
        index.load_order(["ext8", "card", "virtio_insid", "zzzz"])
    assert caught.value.message == "the kernel has no module 'ext8', 'virtio_insid', 'zzzz'"
    assert caught.value.hint == "near 'ext8' are ext9; near 'virtio_insid' are virtio_inside"
    with pytest.raises(UserError) as caught:
        index.load_order(["zzzz"])
    assert caught.value.hint is not None and "lsmod" in caught.value.hint


def test_a_hard_need_wins_over_a_soft_wish_for_the_opposite() -> None:
    index = ModuleIndex(
        {
            "one": Module("one.ko", before=("two",)),
            "two": Module("two.ko", needs=("one",)),
            "three": Module("three.ko", before=("four",)),
            "four": Module("four.ko", before=("three",)),
        }
    )
    assert index.load_order(["one"]) == ("one", "two")
    assert index.load_order(["two"]) == ("one", "two")
    assert index.load_order(["three"]) == ("four", "three")


def test_an_alias_that_a_built_in_module_provides_asks_for_nothing(index: ModuleIndex) -> None:
    assert index.wanted("inside") == ()
    assert index.wanted("pci:v1d2") == ("card",)
    assert index.wanted("pci:v1") == ()


def test_lists_are_reduced_to_what_was_chosen(index: ModuleIndex) -> None:
    order = index.load_order(["jbd", "card"])
    dep = reduced_dep(index, order)
    assert "kernel/fs/jbd.ko: kernel/lib/crc.ko\n" in dep
    assert ".xz" not in dep and "ext9" not in dep
    assert read_index({"modules.dep": dep.encode()}).load_order(["jbd"]) == ("crc", "jbd")
    assert reduced_alias(index, order) == "alias crypto-sum sum_generic\nalias pci:v*d* card\n"
    assert reduced_softdep(index, order) == (
        "softdep crc pre: crypto-sum inside nowhere\n"
        "softdep card pre: pci:v1 post: late-one nowhere\n"
    )


@pytest.mark.parametrize("line", [b"no colon here", b"a.txt: b.ko", b"a.ko: b.txt"])
def test_a_line_that_depmod_does_not_write_is_refused(line: bytes) -> None:
    with pytest.raises(BuildError, match="line not understood"):
        read_index({"modules.dep": line})


def test_a_kernel_without_depmods_lists_is_refused() -> None:
    with pytest.raises(BuildError, match="depmod has not been run"):
        read_index({})


names = st.sampled_from([f"m{number}" for number in range(9)])


@given(st.dictionaries(names, st.tuples(st.sets(names), st.sets(names), st.sets(names))))
def test_every_order_has_all_needs_before(graph: dict[str, tuple[set[str], ...]]) -> None:
    """Hard needs go to smaller names only, as depmod refuses cycles; soft wishes go anywhere."""
    direct = {m: {n for n in needs if n < m and n in graph} for m, (needs, _, _) in graph.items()}

    def closure(name: str) -> list[str]:
        found: list[str] = []
        for need in sorted(direct[name], reverse=True):
            found += [need, *closure(need)]
        return sorted(set(found), reverse=True)

    index = ModuleIndex(
        {
            name: Module(f"{name}.ko", tuple(closure(name)), tuple(before), tuple(after))
            for name, (_, before, after) in graph.items()
        }
    )
    order = index.load_order(list(graph))
    assert sorted(order) == sorted(graph)
    for name in order:
        assert all(order.index(need) < order.index(name) for need in closure(name))
