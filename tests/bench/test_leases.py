# SPDX-License-Identifier: Apache-2.0
"""Who gets a target, in which order, and when a lease ends."""

from __future__ import annotations

import pytest

from farm.bench.errors import BusyError
from farm.bench.leases import Lease, LeaseTable, Ticket
from farm.bench.protocol import LEASE_DEAD_S


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(clock: Clock) -> LeaseTable:
    return LeaseTable(clock=clock, wall=lambda: 1_735_689_600.0)


class Waiter:
    """Somebody in the queue."""

    def __init__(self, table: LeaseTable, name: str, *targets: str) -> None:
        self.got: list[str] = []
        self.places: list[int] = []
        self.ticket = Ticket(targets, name, name, "work", self._granted, self.places.append)
        table.wait(self.ticket)

    def _granted(self, lease: Lease) -> None:
        self.got.append(lease.target)


def test_the_first_free_one_is_given(table: LeaseTable) -> None:
    assert table.take(("a", "b"), 1, "ann", "x").target == "a"
    assert table.take(("a", "b"), 2, "bob", "y").target == "b"
    with pytest.raises(BusyError) as busy:
        table.take(("a", "b"), 3, "eve", "z")
    assert str(busy.value) == (
        "a is leased by ann since 2025-01-01 00:00:00 UTC, for: x (and 1 more are taken)"
    )
    assert (busy.value.holder, busy.value.since, busy.value.reason) == ("ann", 1_735_689_600.0, "x")


def test_nobody_ends_anothers_lease(table: LeaseTable) -> None:
    table.take(("a",), 1, "ann", "x")
    assert table.release("a", 2) is False
    assert table.release("b", 1) is False
    assert table.release("a", 1) is True
    assert table.lease_of("a") is None


def test_the_queue_is_served_in_order_and_tells_places(table: LeaseTable) -> None:
    table.take(("a",), 1, "ann", "x")
    bob, eve, dan = Waiter(table, "bob", "a"), Waiter(table, "eve", "a"), Waiter(table, "dan", "b")
    assert dan.got == ["b"]
    assert (bob.places, eve.places) == ([1], [2])
    assert table.queue_of("a") == ("bob", "eve")
    table.release("a", 1)
    assert (bob.got, eve.got, eve.places) == (["a"], [], [2, 1])
    table.drop("bob")
    assert eve.got == ["a"]


def test_who_waits_for_any_gets_what_comes_free(table: LeaseTable) -> None:
    table.take(("a",), 1, "ann", "x")
    table.take(("b",), 2, "bob", "x")
    first, any_ = Waiter(table, "first", "a"), Waiter(table, "any", "a", "b")
    table.release("b", 2)
    assert (first.got, any_.got) == ([], ["b"])


def test_leaving_the_queue_moves_the_others(table: LeaseTable) -> None:
    table.take(("a",), 1, "ann", "x")
    bob, eve = Waiter(table, "bob", "a"), Waiter(table, "eve", "a")
    table.leave(bob.ticket)
    assert eve.places == [2, 1]
    table.leave(bob.ticket)


def test_a_silent_holder_is_dead_and_a_beating_one_is_not(table: LeaseTable, clock: Clock) -> None:
    table.take(("a",), "silent", "ann", "x")
    table.take(("b",), "alive", "bob", "x")
    clock.now = LEASE_DEAD_S
    table.beat("alive")
    assert table.dead() == ()
    clock.now = LEASE_DEAD_S + 0.1
    assert [lease.target for lease in table.dead()] == ["a"]


def test_a_lost_channel_ends_all_that_was_its_own(table: LeaseTable) -> None:
    table.take(("a",), 1, "ann", "x")
    table.take(("b",), 1, "ann", "x")
    table.take(("c",), 2, "bob", "x")
    waiter = Waiter(table, "eve", "a")
    gone = Ticket(("c",), 1, "ann", "x", lambda lease: None, lambda place: None)
    table.wait(gone)
    assert {lease.target for lease in table.drop(1)} == {"a", "b"}
    assert (waiter.got, table.queue_of("c")) == (["a"], ())
