"""The fuzzer's top tier: a random walk over a real machine, real agents, a real libvirtd and a real link.

    python -m tests.faults.machine_walk --cycles 200 --seed 1

The guest appends to ledgers on its first two disks, writes, zeroes, removes and trims files there, and writes and
discards its third disk, whose size is no multiple of 64 KiB, raw; QEMU's monitor adds writes, zeros and discards of any
alignment between cycles.  In between, and in the middle of cycles, QEMU, libvirtd and the agents are killed, the link
is cut, slowed or made to reject, the machine is restarted, bitmaps are taken away.

Every cycle of every kind carries a witness: each disk of each point, the agent's own included, is compared with a whole
read of the same job's export by nbdcopy.  A model that knows nothing but the faults says which disks must be
compared or read whole, and no other may.  At the end the guest's ledgers and its kernel's log must be clean.
Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from drill.errors import DrillError
from drill.lab import site, topology
from drill.model import ledger
from drill.model.point import Point, Way
from tests.faults.bench_lab import UnderWay, has_points
from tests.lab.micro_machines import await_agent, await_done
from tests.lab.replicated import SIZES, Replicated, network_of, replicated

RAW = "vdc"
LEDGERS = ("/data/ledger", "/data2/ledger")
SETTLED_SECONDS = 180.0
MIB = 1 << 20
GUEST_COMMANDS = (
    "dd if=/dev/urandom of=/data2/f{n} bs=4096 count={count} conv=notrunc",
    "dd if=/dev/zero of=/data2/f{n} bs=4096 count={count} conv=notrunc",
    "rm -f /data2/f{n}; sync; fstrim /data2",
    "dd if=/dev/urandom of=/dev/vdc bs=512 seek={sector} count={count} conv=notrunc oflag=direct",
    "dd if=/dev/zero of=/dev/vdc bs=512 seek={sector} count={count} conv=notrunc oflag=direct",
    "blkdiscard -f -o {page}k -l 256k /dev/vdc",
    "blkdiscard -f -z -o {page}k -l 256k /dev/vdc",
    "sync",
)


class MachineWalk:
    """One walk.  `due` are the disks whose tracking was lost since the last point; no other may be taken again."""

    def __init__(self, vm: Replicated, seed: int) -> None:
        self.vm = vm
        self.rng = random.Random(seed)
        self.due: set[str] = set()
        self.steps: Counter[str] = Counter()
        self.compared = 0
        self.failed_cycles = 0
        self.trace: list[str] = []
        self._seen = {self._name(point) for point in vm.points()}
        self._faults: tuple[Callable[[], None], ...] = (
            self.kill_qemu,
            self.kill_source,
            self.kill_receiver,
            self.kill_libvirtd,
            self.cut_link,
            self.reject,
            self.restart_machine,
            self.lose_bitmap,
        )

    def run(self, cycles: int, fault_every: int = 5) -> None:
        """Walk until so many cycles were sealed and compared."""
        for number in range(cycles):
            self._change()
            if number % 20 == 0:
                sys.stderr.write(f"{number} cycles, {self.compared} points compared, {dict(self.steps)}\n")
            if number % fault_every == fault_every - 1:
                self._fault()
            self.cycle()

    def cycle(self) -> None:
        """A cycle that must come to succeed, and a look at every point that was sealed since the last look."""
        self._note("cycle")
        self._settled()
        self._compare()

    # --------------------------------------------------------------------------------------------- what the guest does

    def _change(self) -> None:
        """Writes, zeros and discards: some done before the cycle begins, some going on while it runs."""
        if self.rng.random() < 0.5:
            self._by_monitor()
        self._by_guest()

    def _by_monitor(self) -> None:
        for _ in range(3):
            length = self.rng.choice([512, 4096, 65536, 70_144, MIB, 3 * MIB])
            room = SIZES[RAW] - length
            offset = self.rng.choice([self.rng.randrange(room // 512) * 512, room, 0])
            kind = self.rng.choice(["write -P {}", "write -P {}", "write -z", "write -z -u", "discard"])
            self.vm.io(RAW, f"{kind.format(self.rng.randrange(1, 256))} {offset} {length}")
            self._note("monitor")

    def _by_guest(self) -> None:
        """A shell in the guest that is not waited for; a guest that is still booting is left alone."""
        lines = [
            self.rng.choice(GUEST_COMMANDS).format(
                n=self.rng.randrange(4),
                count=self.rng.randrange(1, 400),
                sector=self.rng.randrange(SIZES[RAW] // 512 - 400),
                page=self.rng.randrange(SIZES[RAW] // 4096 - 64) * 4,
            )
            for _ in range(4)
        ]
        with suppress(DrillError):
            guest = self.vm.hypervisor.guest(self.vm.machine.name)
            guest.ping(1)
            guest.run(["setsid", "sh", "-c", f"({'; '.join(lines)}) > /dev/null 2>&1 &"], 10)
            self._note("guest")

    # ------------------------------------------------------------------------------------------------- what befalls it

    def _fault(self) -> None:
        """One fault, idle or at a random moment of a cycle."""
        fault = self.rng.choice(self._faults)
        if fault == self.lose_bitmap or self.rng.random() < 0.5:
            self._note(fault.__name__)
            fault()
            self._heal()
            return
        self._note(f"{fault.__name__} in a cycle")
        slow = self.rng.random() < 0.5
        if slow:
            self.vm.lab.throttle_link(bits_per_second=32_000_000)
        cycle = UnderWay(self.vm)
        time.sleep(self.rng.random() * (1.5 if slow else 0.5))  # a random moment is what is wanted
        fault()
        cycle.join()
        self.failed_cycles += cycle.outcome is not None
        self._heal()

    def _heal(self) -> None:
        with suppress(DrillError):
            self.vm.far.run(["nft", "delete", "table", "inet", "faults"])
        self.vm.lab.heal_link()
        near, far = self.vm.near, self.vm.far
        if not (near.pids("agent-source") and near.pids("libvirtd") and far.pids("agent-receiver")):
            self.vm.mend()

    def kill_qemu(self) -> None:
        self.vm.kill_qemu()
        self.due |= set(SIZES)

    def kill_source(self) -> None:
        self.vm.kill_agent(self.vm.near, "agent-source")

    def kill_receiver(self) -> None:
        self.vm.kill_agent(self.vm.far, "agent-receiver")

    def kill_libvirtd(self) -> None:
        self.vm.kill_agent(self.vm.near, "libvirtd")

    def cut_link(self) -> None:
        self.vm.lab.cut_link()
        time.sleep(self.rng.random() * 3)

    def reject(self) -> None:
        chain = "type filter hook input priority -10; iifname link0 meta l4proto tcp reject with tcp reset;"
        self.vm.far.run(["nft", "-f", "-"], stdin=f"table inet faults {{ chain arriving {{ {chain} }}; }}\n")
        time.sleep(self.rng.random())

    def restart_machine(self) -> None:
        name = self.vm.machine.name
        self.vm.hypervisor.connection.call("destroy", lambda handle: handle.lookupByName(name).destroy())
        self.vm.start()
        self.due |= set(SIZES)  # its images were closed: anybody may have written to them

    def lose_bitmap(self) -> None:
        """Taken away behind libvirt's back, between cycles: in the middle of one, a success would make up for it."""
        target = self.rng.choice(list(SIZES))
        for mark in self.vm.bitmaps(target):
            if mark.startswith("drill-"):
                self.vm.remove_bitmap(target, mark)
                self.due.add(target)

    # -------------------------------------------------------------------------------------------------- what must hold

    def _settled(self) -> None:
        def cycle() -> None:
            self.vm.cycle()

        await_done(cycle, f"a cycle after {self.trace[-6:]}", SETTLED_SECONDS)

    def _compare(self) -> None:
        """Every new point is exact; the disks that came whole are those whose tracking was lost."""
        fresh = [point for point in self.vm.points() if self._name(point) not in self._seen]
        assert fresh, "a sealed cycle is no point"
        for point in fresh:
            self._seen.add(self._name(point))
            assert self.vm.differing(point) == [], f"point {self._name(point)} is wrong after {self.trace[-12:]}"
            self.compared += 1
        again, unrecorded = self._taken_again(fresh)
        assert again <= self.due, f"not tracked: {sorted(again)}, lost: {sorted(self.due)}, after {self.trace[-12:]}"
        assert again == self.due or unrecorded, f"lost: {self.due}, noticed: {again}, after {self.trace[-12:]}"
        self.due = set()
        assert self.vm.running(), f"the guest does not run after {self.trace[-12:]}"

    def _taken_again(self, fresh: list[Point]) -> tuple[set[str], bool]:
        """The disks that were compared or read whole; whether a point's record went with its agent."""
        with network_of(self.vm.near):
            records = {record.sequence: record for record in self.vm.source.status(self.vm.item).cycles}
        found = [records[point.sequence] for point in fresh if point.sequence in records]
        again = {disk.target for record in found for disk in record.disks if disk.way is not Way.TRACKED}
        return again, len(found) < len(fresh)

    def guest_errors(self) -> list[str]:
        """What the guest's kernel complained of since it booted, and what is wrong with its ledgers."""
        name = self.vm.machine.name
        await_agent(self.vm.hypervisor, name)
        guest = self.vm.hypervisor.guest(name)
        log = guest.run(["dmesg"], 30).output.decode(errors="replace")
        words = ("I/O error", "EXT4-fs error", "Buffer I/O", "blocked for more", "aborting journal")
        found = [line for line in log.splitlines() if any(word in line for word in words)]
        for path in LEDGERS:
            read = ledger.parse(guest.read_file(path, 16 * MIB))
            if read.damage is not None or read.last is None:
                found.append(f"{path}: {read.damage or 'empty'}")
        return found

    def _note(self, step: str) -> None:
        self.steps[step] += 1
        self.trace.append(step)

    def _name(self, point: Point) -> str:
        return f"{point.epoch}/{point.sequence}"


def walk(cycles: int, seed: int, fault_every: int = 5) -> dict[str, object]:
    """A lab, a walk, and what it showed; AssertionError or pytest's failure where something did not hold."""
    name = f"walk-{os.getpid()}"
    begun = time.monotonic()
    try:
        vm = replicated(site.up(topology.load("lab-two-site", name=name)), "walk-vm", agent=True)
        await_agent(vm.hypervisor, vm.machine.name)
        vm.protect(witness=True)
        await_done(lambda: has_points(vm, 1), "the first copy")
        found = MachineWalk(vm, seed)
        found.run(cycles, fault_every)
        errors = found.guest_errors()
        return {
            "seed": seed,
            "cycles": cycles,
            "points_compared": found.compared,
            "wrong_points": 0,
            "failed_cycles": found.failed_cycles,
            "guest_errors": errors,
            "steps": dict(sorted(found.steps.items())),
            "seconds": round(time.monotonic() - begun, 1),
        }
    finally:
        site.down(name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault-every", type=int, default=5)
    asked = parser.parse_args()
    sys.stdout.write(json.dumps(walk(asked.cycles, asked.seed, asked.fault_every), indent=2) + "\n")


if __name__ == "__main__":
    main()
