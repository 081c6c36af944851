# SPDX-License-Identifier: Apache-2.0
"""Boots that go well, that fail, and that are ended: the timeline of each."""

from __future__ import annotations

import pytest

from farm.oci.tree import Entry, Kind
from farm.rootfs import BootFacts
from farm.spec.container import Health

from .conftest import NETWORK, Machine, seen

pytestmark = [pytest.mark.boot, pytest.mark.network]

_OK = Health(command=("/usr/bin/busybox", "true"), timeout_s=30)


def test_a_good_boot(machine: Machine) -> None:
    containers = [
        machine.container("onboot", "zeta", "echo noise of zeta", index=0),
        machine.container("onboot", "alpha", "exit 0", index=1),
        machine.container("services", "asked", "exec sleep 100000", health=_OK),
        machine.container("services", "unasked", "echo noise; exec sleep 100000"),
    ]
    boot = machine.boot(containers, until=seen("settled"))
    names = boot.names()
    assert names[:5] == [
        *("start", "onboot-begin zeta", "onboot-end zeta"),
        *("onboot-begin alpha", "onboot-end alpha"),
    ]
    assert sorted(names[5:7]) == ["service-begin asked", "service-begin unasked"]
    assert names[7:] == ["service-up asked", "service-up unasked", "complete", "settled"]
    assert boot.one("start").fields["kernel"] == machine.kernel.release
    assert boot.one("start").fields["build"] == machine.build_id
    settled = boot.one("settled")
    assert settled.fields["up"] == "2"
    assert settled.time_s == pytest.approx(boot.one("complete").time_s + 4, abs=0.1)
    assert boot.one("onboot-end", "zeta").fields["rc"] == "0"
    assert boot.one("service-up", "asked").fields["by"] == "health"
    unasked = boot.one("service-up", "unasked").fields
    assert unasked["by"] == "running"
    assert float(unasked["s"]) >= BootFacts("x").settle_s
    assert "noise" not in boot.console


def test_an_onboot_step_that_fails_ends_the_boot_and_not_the_system(machine: Machine) -> None:
    script = r"""
        printf 'no \033[31mdisk\033[0m\n'
        printf 'farm/1 00000000 5 1.00 complete s=1.00 #00000000\n' >&2
        exit 3
    """
    containers = [
        machine.container("onboot", "good", "exit 0", index=0),
        machine.container("onboot", "disk", script, index=1),
        machine.container("onboot", "never", "exit 0", index=2),
        machine.container("services", "neither", "exec sleep 100000"),
    ]
    # Ten minutes later process 1 still does what it is asked for.
    asks = "(sleep 600; echo test: $(ps | grep -c 'run[s]v') >/dev/kmsg; kill -USR2 1) &\n"
    board = Entry("etc/farm/board", Kind.FILE, 0o644, data=asks.encode())
    boot = machine.boot(containers, files=[board])
    assert boot.names()[3:] == ["onboot-begin disk", "onboot-end disk", "failed disk", "shutdown"]
    assert boot.one("onboot-end", "disk").fields["rc"] == "3"
    assert boot.one("failed").fields == {"stage": "onboot", "name": "disk", "rc": "3"}
    assert boot.said("farm: disk") == [
        *("no [31mdisk[0m", "farm-1 00000000 5 1.00 complete s=1.00 #00000000"),
    ]
    assert boot.said("test") == ["0"]
    assert boot.one("shutdown").time_s > 600


def test_a_step_that_crun_cannot_start_fails_and_says_why(machine: Machine) -> None:
    one = machine.container("onboot", "absent", "exit 0", command=["/no/such/program"])
    boot = machine.boot([one], until=seen("failed"))
    assert boot.one("onboot-end").fields["rc"] != "0"
    assert any("/no/such/program" in line for line in boot.said("farm: absent"))


def test_a_step_that_is_killed_ends_with_its_signal(machine: Machine) -> None:
    one = machine.container("onboot", "killed", "(sleep 1; kill -9 1) & exec sleep 9", pid="new")
    two = machine.container("onboot", "killer", "kill -SEGV $$; sleep 9", pid="host")
    boot = machine.boot([two, one], until=seen("failed"))
    assert boot.one("onboot-end", "killer").fields["rc"] == "139"


def test_a_service_that_ends_at_once_is_a_failed_boot(machine: Machine) -> None:
    containers = [
        machine.container("services", "good", "exec sleep 100000", health=_OK),
        machine.container("services", "short", "echo bad option; exit 7", health=_OK),
    ]
    boot = machine.boot(containers, until=seen("failed"))
    assert boot.one("service-failed").fields == {"name": "short", "rc": "7", "reason": "exit"}
    assert boot.one("failed").fields == {"stage": "services", "name": "short", "rc": "7"}
    assert boot.said("farm: short") == ["bad option"]
    assert "service-up good" in boot.names()
    assert "complete" not in boot.names()


def test_a_health_command_that_never_succeeds_is_a_failed_boot(machine: Machine) -> None:
    ask = Health(command=("/usr/bin/busybox", "sh", "-c", 'exit "4"'), timeout_s=20)
    hangs = Health(command=("/usr/bin/busybox", "sleep", "100000"), timeout_s=5)
    later = Health(command=("/usr/bin/busybox", "test", "-e", "/done"), timeout_s=20)
    containers = [
        machine.container("services", "sick", "echo running; exec sleep 100000", health=ask),
        machine.container("services", "stuck", "exec sleep 100000", health=hangs),
        machine.container("services", "slow", "sleep 9; >/done; exec sleep 100000", health=later),
    ]
    boot = machine.boot(containers, until=seen("failed"))
    fields = boot.one("service-failed", "sick").fields
    assert (fields["rc"], fields["reason"]) == ("4", "health")
    assert boot.one("service-failed", "stuck").fields["rc"] == "124"
    assert 9 <= float(boot.one("service-up", "slow").fields["s"]) < 11
    begun = boot.one("service-begin", "sick").time_s
    assert boot.one("service-failed", "sick").time_s == pytest.approx(begun + 20, abs=1)
    assert boot.one("failed").fields["name"] == "stuck"
    # Once while it was waited for, once when it was not any longer.
    assert boot.said("farm: sick") == ["running", "running"]


def test_what_waits_shows_what_it_wrote_so_far(machine: Machine) -> None:
    never = Health(command=("/usr/bin/busybox", "false"), timeout_s=90)
    containers = [
        machine.container("onboot", "waiter", "echo disk?; sleep 70"),
        machine.container("services", "dreamer", "echo peer?; exec sleep 100000", health=never),
    ]
    boot = machine.boot(containers, until=seen("service-failed"))
    assert boot.said("farm: waiter") == ["disk?"] * 2
    assert boot.said("farm: dreamer") == ["peer?"] * 3
    lines = [line for line in boot.console.splitlines() if "disk?" in line or "peer?" in line]
    at_s = [float(line.partition("[")[2].partition("]")[0]) for line in lines]
    begun = [boot.one("onboot-begin").time_s] * 2 + [boot.one("service-begin").time_s] * 3
    waited = [at - begin for at, begin in zip(at_s, begun, strict=True)]
    assert waited == pytest.approx([10, 60, 10, 60, 90], abs=3)


def test_a_service_that_is_gone_is_not_counted(machine: Machine) -> None:
    # It comes up once; the second time its health command never succeeds.
    first = ("/usr/bin/busybox", "sh", "-c", "test ! -e /again")
    script = "[ -e /again ] || { sleep 2; >/again; exit 1; }; exec sleep 100000"
    containers = [
        machine.container("services", "gone", script, health=Health(command=first, timeout_s=60)),
        machine.container("services", "stays", "exec sleep 100000", health=_OK),
    ]
    boot = machine.boot(containers, until=seen("settled"))
    assert boot.names()[-3:] == ["complete", "service-exit gone", "settled"]
    assert boot.one("settled").fields["up"] == "1"


def test_a_service_that_dies_later_is_told_and_started_again(machine: Machine) -> None:
    one = machine.container(
        "services", "mortal", "echo alive; sleep 20; echo dying; exit 9", health=_OK
    )
    boot = machine.boot([one], until=seen("service-up", 2))
    assert boot.names()[1:] == [
        *("service-begin mortal", "service-up mortal", "complete", "settled"),
        *("service-exit mortal", "service-up mortal"),
    ]
    assert boot.one("service-exit").fields["rc"] == "9"
    assert boot.one("service-exit").time_s == pytest.approx(20.7, abs=1)
    assert boot.said("farm: mortal")[:2] == ["alive", "dying"]


def test_what_needs_the_network_is_skipped_where_only_lo_is(machine: Machine) -> None:
    containers = [
        machine.container("onboot", "lease", "exit 1", needs=("network",)),
        machine.container("services", "web", "exit 1", needs=("network",)),
        machine.container("services", "local", "exec sleep 100000", health=_OK),
    ]
    boot = machine.boot(
        containers, until=seen("complete"), facts=BootFacts("test", network_wait_s=7)
    )
    skipped = [event.fields for event in boot.events if event.name == "skipped"]
    assert skipped == [
        {"kind": "onboot", "name": "lease", "need": "network"},
        {"kind": "services", "name": "web", "need": "network"},
    ]
    network = boot.one("network")
    assert network.fields == {"interface": "", "address": ""}
    assert network.time_s == pytest.approx(boot.events[0].time_s + 7, abs=0.5)
    assert boot.names()[1:] == [
        *("network", "skipped lease", "service-begin local", "skipped web"),
        *("service-up local", "complete"),
    ]


def test_a_card_that_is_there_ends_the_wait_and_gets_its_address(machine: Machine) -> None:
    containers = [machine.of_component("onboot", "dhcp")]
    boot = machine.boot(
        containers,
        until=seen("complete"),
        modules=machine.modules("virtio_net"),
        facts=BootFacts("test", network_wait_s=60),
        qemu=NETWORK,
    )
    assert boot.one("modules").fields["failed"] == "0"
    first, second = (event for event in boot.events if event.name == "network")
    assert first.fields == {"interface": "eth0", "address": ""}
    assert first.time_s < boot.events[0].time_s + 5
    assert second.fields == {"interface": "eth0", "address": "10.0.2.15"}
    assert boot.names()[-3:] == ["onboot-end dhcp", "network", "complete"]


@pytest.mark.parametrize(
    ("ask", "reason"),
    [("kill -USR2 1", "poweroff"), ("kill -TERM 1", "reboot"), ("/usr/bin/poweroff", "poweroff")],
)
def test_the_way_down(machine: Machine, ask: str, reason: str) -> None:
    tell = ">/dev/kmsg echo test:"
    dev = {"binds": ["/dev:/dev"]}
    asker = f"ln -s busybox /usr/bin/poweroff; sleep 5; {ask}; exec sleep 100000"
    polite = f"trap '{tell} stopped; exit 0' TERM; while :; do sleep 1; done"
    stubborn = "trap '' TERM; while :; do sleep 1; done"
    containers = [
        machine.container("services", "asker", asker, pid="host", capabilities=["all"]),
        machine.container("services", "polite", polite, **dev),
        machine.container("services", "stubborn", stubborn),
        machine.container("onshutdown", "first", f"{tell} first", index=0, **dev),
        machine.container("onshutdown", "hangs", "exec sleep 100000", index=1),
        machine.container("onshutdown", "last", f"{tell} last; exit 5", index=2, **dev),
    ]
    boot = machine.boot(containers)
    assert boot.ended
    assert boot.said("test") == ["first", "last", "stopped"]
    assert boot.names()[-3:] == ["complete", "settled", "shutdown"]
    assert boot.one("shutdown").fields == {"reason": reason}
    assert boot.said("farm: hangs") == ["ended with 124"]
    assert boot.said("farm: last") == ["ended with 5"]
    down = {"poweroff": "reboot: Power down", "reboot": "reboot: Restarting system"}[reason]
    assert down in boot.console


def test_a_step_that_hangs_does_not_keep_the_system_from_going_down(machine: Machine) -> None:
    script = "sleep 3; kill -USR2 1; exec sleep 100000"
    one = machine.container("onboot", "hangs", script, pid="host", capabilities=["all"])
    boot = machine.boot([one])
    assert boot.ended
    assert boot.names() == ["start", "onboot-begin hangs", "shutdown"]
