"""Every check of a drill goes red when its defect is planted: on the lab, in real guests, disks and networks.

Several defects that do not hide each other are planted in one run; each test then asks for one check.  None touches
production but the last run's, which is taken back.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from drill.model.fact import RunStarted
from drill.model.verdict import Outcome
from fixtures.shop import Shop
from tests.drills.planted import Planted, drilled, target
from tests.lab.micro_machines import await_done

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def in_guest(shop: Shop, domain: str, script: str) -> None:
    """Run sh in a test guest, by the host's own virsh."""
    argv = {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True}
    request = json.dumps({"execute": "guest-exec", "arguments": argv})
    target(
        shop,
        'tries=0; until virsh -q qemu-agent-command "$1" "$2" >/dev/null 2>&1; do '
        'tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1; done',
        domain, json.dumps({"execute": "guest-ping"}),
    )  # fmt: skip
    target(shop, 'virsh -q qemu-agent-command "$1" "$2" >/dev/null; sleep 0.3', domain, request)


def nothing(_: dict[str, Any]) -> None:
    """Only pause."""


@pytest.fixture(scope="module")
def clean(shop: Shop) -> Planted:
    return drilled(shop, {})


@pytest.fixture(scope="module")
def first(shop: Shop) -> Planted:  # noqa: C901 - one small function per defect
    """Wrong bytes, wrong cards, wrong addresses, a dead service, an uplink, a left-over."""
    bubbles: dict[str, str] = {}

    def note_bubble(command: dict[str, Any]) -> None:
        bubbles[command["network"]["copies"]] = command["network"]["bridge"]

    def flip_web(command: dict[str, Any]) -> None:
        """One byte of the base, in its last block, before any overlay is made of it."""
        target(
            shop,
            'base=$(ls /var/lib/drill/replica/"$1"/base-*.vda.raw | head -n 1); size=$(stat -c %s "$base"); '
            'old=$(od -An -tu1 -j $((size - 9)) -N 1 "$base"); '
            'printf "\\\\$(printf %o $((old ^ 1)))" | dd of="$base" bs=1 seek=$((size - 9)) conv=notrunc 2>/dev/null',
            command["item"],
        )

    def damage_ledger(command: dict[str, Any]) -> None:
        """One digit of an early record in app's replica."""
        target(
            shop,
            "cd /var/lib/drill/replica/\"$1\"; for file in $(grep -l -a '^0000000003 ' base-* point-* || :); do "
            "sed -i 's/^0000000003 \\([0-9]\\{15\\}\\)[0-9] /0000000003 \\1x /' \"$file\"; done",
            command["item"],
        )

    def other_network(command: dict[str, Any]) -> dict[str, Any]:
        """Db's card into the other bubble."""
        (card,) = command["machine"]["nics"]
        other = next(name for name in bubbles.values() if name != card["network"])
        return {"nics": [{"mac": card["mac"], "network": other}]}

    def second_card(command: dict[str, Any]) -> dict[str, Any]:
        """Web gets the card that its size forbids."""
        (card,) = command["machine"]["nics"]
        return {"nics": [card, {"mac": "52:54:00:61:02:13", "network": card["network"]}]}

    def other_address(command: dict[str, Any]) -> None:
        in_guest(
            shop, command["domain"],
            "nic=$(ip -o -4 addr | awk '/10.61.2.12/ {print $2}'); ip addr del 10.61.2.12/24 dev $nic; "
            "ip addr add 10.61.2.99/24 dev $nic",
        )  # fmt: skip

    def dead_service(command: dict[str, Any]) -> None:
        in_guest(shop, command["domain"], "rm /data/etc/role; pkill -f /drill/serve || killall serve")

    def uplink(_: dict[str, Any]) -> None:
        target(
            shop,
            'ip link add uplink0 type veth peer name uplink1; ip link set uplink0 master "$1" up',
            bubbles["VMNetwork2-Chicago"],
        )

    def left_over(command: dict[str, Any]) -> None:
        if command["when"] == "after":
            target(shop, "mkdir -p /var/lib/drill/runs/forgotten; : > /var/lib/drill/runs/forgotten/db.vda.qcow2")

    try:
        return drilled(
            shop,
            {
                ("after", "MakeBubble", ""): note_bubble,
                ("before", "MakeOverlays", "web"): flip_web,
                ("before", "MakeOverlays", "app"): damage_ledger,
                ("before", "DefineMachine", "db"): other_network,
                ("before", "DefineMachine", "web"): second_card,
                ("after", "AwaitServices", "app"): other_address,
                ("before", "AwaitServices", "web"): dead_service,
                ("after", "AwaitServices", "web"): uplink,
                ("before", "TakePicture", ""): left_over,
            },
        )
    finally:
        target(shop, "ip link del uplink0 2>/dev/null || :; rm -rf /var/lib/drill/runs/forgotten")


def mended(shop: Shop) -> None:
    """A cycle brings what the drill before found rotten; AssertionError while an item's newest point is not whole."""
    shop.verb("cycle", "web", "app", exit_code=None)
    for one in shop.verb("status")["items"]:
        assert not one["store"]["owed"]
        assert not one["store"]["points"][-1]["damaged"]


@pytest.fixture(scope="module")
def second(shop: Shop) -> Planted:
    """A machine that stands still, disks of two instants, a wall taken down, a primary that stands still."""
    await_done(lambda: mended(shop), "what rotted in the first drill to come again", 180)

    def mix_instants(command: dict[str, Any]) -> None:
        """Db's second disk from an older point than the first."""
        target(
            shop,
            'cd /var/lib/drill/replica/"$1"; older=$(ls point-*.vdb.qcow2 | head -n 1); '
            'overlay=$(ls /var/lib/drill/runs/"$2"/"$1".vdb.qcow2); '
            'qemu-img rebase -u -f qcow2 -F qcow2 -b "$PWD/$older" "$overlay"',
            command["item"], command["run"],
        )  # fmt: skip

    def no_guard(_: dict[str, Any]) -> None:
        target(
            shop,
            "nft list tables | grep drill | while read -r word family name; do nft delete table $family $name; done",
        )

    def standing_still(command: dict[str, Any]) -> None:
        target(shop, 'virsh -q suspend "$1"', command["domain"])

    def primary_still(_: dict[str, Any]) -> None:
        shop.lab.host("ny1").run(["virsh", "-q", "suspend", "app"])

    try:
        return drilled(
            shop,
            {
                ("after", "MakeOverlays", "db"): mix_instants,
                ("before", "AwaitServices", "web"): no_guard,
                ("after", "AwaitServices", "web"): standing_still,
                ("before", "Check", "primary"): primary_still,
            },
        )
    finally:
        shop.lab.host("ny1").run(["sh", "-c", "virsh -q resume app 2>/dev/null || :"])


def test_a_drill_without_defects_passes(clean: Planted) -> None:
    assert clean.red() == set()
    assert clean.verdict.leftovers == ()


@pytest.mark.spec("L6.f")
def test_a_left_over_overlay_is_named(first: Planted) -> None:
    assert first.outcome("leftovers", "")[0] is Outcome.FAIL
    assert any("forgotten/db.vda.qcow2" in one for one in first.verdict.leftovers)


@pytest.mark.parametrize(
    ("check", "vm", "names"),
    [
        ("disk_content", "web", "vda"),
        ("point_digest", "web", "vda"),
        ("ledger", "app", "damaged"),
        ("subnet", "db", "VMNetwork1-Chicago"),
        ("nic_count", "web", "2 network cards, not 1"),
        ("address", "app", "10.61.2.99"),
        ("prediction", "app", "10.61.2.12"),
        ("service", "web", "does not answer"),
        ("isolation", "", "uplink0"),
    ],
)
def test_a_planted_defect_turns_its_check_red(first: Planted, check: str, vm: str, names: str) -> None:
    outcome, reason = first.outcome(check, vm)
    assert outcome is Outcome.FAIL, reason
    assert names in reason


@pytest.mark.usefixtures("first")
def test_status_says_what_rotted(shop: Shop) -> None:
    """A bit that flipped after the last scrub was found by the drill; other items are not called damaged."""
    found = {one["domain"]: one["store"]["points"] for one in shop.verb("status")["items"]}
    damaged = {name: {target for one in points for target in one["damaged"]} for name, points in found.items()}
    assert damaged["web"] == {"vda"}
    assert damaged["db"] == set()


@pytest.mark.parametrize(
    ("check", "vm", "outcome", "names"),
    [
        ("boot", "web", Outcome.FAIL, "paused"),
        ("agent", "web", Outcome.FAIL, "does not answer"),
        ("heartbeat", "web", Outcome.FAIL, "0 of 2"),
        ("one_instant", "db", Outcome.FAIL, "not one instant"),
        ("primary", "app", Outcome.FAIL, "paused"),
    ],
)
def test_what_stands_still_is_seen(second: Planted, check: str, vm: str, outcome: Outcome, names: str) -> None:
    assert second.outcome(check, vm)[0] is outcome
    assert names in second.outcome(check, vm)[1]


def test_without_the_guard_the_host_is_reached_and_isolation_fails(second: Planted) -> None:
    outcome, reason = second.outcome("isolation", "")
    assert outcome is Outcome.FAIL, reason
    assert re.search(r"gateway of \w+ reached", reason)


@pytest.mark.parametrize("figure", ["rpo", "rto"])
def test_an_objective_that_is_missed_fails(clean: Planted, figure: str) -> None:
    started, *rest = clean.facts
    assert isinstance(started, RunStarted)
    too_tight: dict[str, Any] = {f"{figure}_objective_seconds": 0.001}
    strict = replace(started, **too_tight)
    missed = Planted(clean.run, (strict, *rest))
    assert missed.outcome(figure, "")[0] is Outcome.FAIL


@pytest.mark.spec("L1.b")
def test_the_primaries_live_on_untouched(shop: Shop, first: Planted, second: Planted) -> None:
    del first, second
    before = {one["domain"]: one["acknowledged_sequence"] for one in shop.verb("status")["items"]}
    shop.verb("cycle", "--all")
    after = {one["domain"]: one["acknowledged_sequence"] for one in shop.verb("status")["items"]}
    assert all(after[name] > before[name] for name in ("db", "app", "web"))
