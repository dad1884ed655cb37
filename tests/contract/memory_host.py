"""A host in memory for tests of the cycle: disks, checkpoints with bitmaps, backup jobs.

As libvirt behaves (ground § 1): a checkpoint stays when its job ends in any way, dropping one merges its bits into the
one before it, a killed QEMU loses the bitmaps of its session while the checkpoints stay listed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from drill.errors import Failed, Usage
from drill.model.extent import Extent, ExtentKind
from drill.model.machine import Disk, Machine
from drill.replication.extents import coalesce

GRANULE = 1 << 16
DOMAIN = "vm"


@dataclass
class Checkpoint:
    name: str
    dirty: dict[str, set[int]]
    lost: set[str] = field(default_factory=set)


class MemoryHost:
    """One domain, `vm`.  `fail` is asked before every operation, and while a job is read, with the operation's name."""

    def __init__(self, disks: Mapping[str, int]) -> None:
        self.disks = {target: bytearray(size) for target, size in disks.items()}
        self.chain: list[Checkpoint] = []
        self.job: MemoryJob | None = None
        self.used: set[str] = set()
        self.session = "QEMU 1"
        self.instants: dict[int, dict[str, bytes]] = {}
        self.fail: Callable[[str], None] = lambda operation: None
        self.during: Callable[[], None] = lambda: None
        self.allocated = False  # an image without holes: zeros are told as data

    def write(self, target: str, offset: int, data: bytes) -> None:
        """What the guest writes."""
        self.disks[target][offset : offset + len(data)] = data
        if self.chain:
            touched = range(offset // GRANULE, (offset + len(data) - 1) // GRANULE + 1)
            self.chain[-1].dirty.setdefault(target, set()).update(touched)

    def kill(self) -> None:
        """SIGKILL of QEMU: all bitmaps are worth nothing, the list of checkpoints stays, the job is gone."""
        for checkpoint in self.chain:
            checkpoint.lost = set(self.disks)
        self.job = None
        self.restart()

    def restart(self) -> None:
        """QEMU was closed and started again; bitmaps are whole."""
        self.session += "'"

    def _ask(self, operation: str, domain: str) -> None:
        if domain != DOMAIN:
            raise Usage(f"no domain {domain}")
        self.fail(operation)

    def without_bitmap(self, domain: str) -> frozenset[str]:
        self._ask("without_bitmap", domain)
        return frozenset()

    def machine(self, domain: str) -> Machine:
        self._ask("machine", domain)
        disks = tuple(
            Disk(target=target, path=f"/images/{target}", format="qcow2", size_bytes=len(data))
            for target, data in self.disks.items()
        )
        return Machine(name=domain, uuid="0" * 8, memory_mib=64, vcpus=1, disks=disks, nics=())

    def lineage(self, domain: str) -> dict[str, str]:
        self._ask("lineage", domain)
        return dict.fromkeys(self.disks, self.session)

    def provable(self, domain: str, checkpoint: str) -> dict[str, int]:
        self._ask("provable", domain)
        found = [one for one in self.chain if one.name == checkpoint]
        if not found:
            return {}
        later = self.chain[self.chain.index(found[0]) :]
        whole = [t for t in found[0].dirty if not any(t in one.lost for one in later)]
        return {t: GRANULE * len(set().union(*(one.dirty.get(t, set()) for one in later))) for t in whole}

    def checkpoints(self, domain: str, prefix: str) -> tuple[str, ...]:
        self._ask("checkpoints", domain)
        return tuple(one.name for one in self.chain if one.name.startswith(prefix))

    def drop(self, domain: str, checkpoint: str) -> None:
        self._ask("drop", domain)
        for index, one in enumerate(self.chain):
            if one.name == checkpoint:
                if index:
                    for target, bits in one.dirty.items():
                        self.chain[index - 1].dirty.setdefault(target, set()).update(bits)
                    self.chain[index - 1].lost |= one.lost
                del self.chain[index]
                return

    def drop_all(self, domain: str, prefix: str) -> None:
        for name in self.checkpoints(domain, prefix):
            self.drop(domain, name)

    def begin(self, domain: str, checkpoint: str, bases: Mapping[str, str | None]) -> MemoryJob:
        self._ask("begin", domain)
        if self.job is not None:
            raise Failed("begin", "a job is open")
        if checkpoint in self.used:
            raise Failed("begin", f"the name {checkpoint} was used before")
        self.used.add(checkpoint)
        dirty = {target: self._dirty_since(target, base) for target, base in bases.items()}
        self.chain.append(Checkpoint(checkpoint, {target: set() for target in bases}))
        self.job = MemoryJob(self, {target: bytes(self.disks[target]) for target in bases}, dirty)
        self.fail("begun")
        return self.job

    def abort_leftover(self, domain: str) -> bool:
        self._ask("abort_leftover", domain)
        found, self.job = self.job is not None, None
        return found

    def _dirty_since(self, target: str, base: str | None) -> set[int] | None:
        if base is None:
            return None
        names = [one.name for one in self.chain]
        if base not in names:
            raise Usage(f"no checkpoint {base}")
        later = self.chain[names.index(base) :]
        if any(target in one.lost for one in later):
            raise Failed("begin", f"missing or broken bitmap {base}")
        return set().union(*(one.dirty.get(target, set()) for one in later))


class MemoryJob:
    def __init__(self, host: MemoryHost, content: dict[str, bytes], dirty: dict[str, set[int] | None]) -> None:
        self._host = host
        self._content = content
        self._dirty = dirty
        self.begun_us = self.taken_us = len(host.used)
        host.instants[self.begun_us] = content

    def extents(self, disk: str) -> Iterable[Extent]:
        self._host.fail("extents")
        content, dirty = self._content[disk], self._dirty[disk]
        granules = range(-(-len(content) // GRANULE)) if dirty is None else sorted(dirty)
        return coalesce(self._granule(content, granule) for granule in granules)

    def whole(self, disk: str) -> Iterable[Extent]:
        content = self._content[disk]
        return coalesce(self._granule(content, granule) for granule in range(-(-len(content) // GRANULE)))

    def read(self, disk: str, offset: int, length: int) -> memoryview:
        self._host.fail("read")
        self._host.during()
        self._host.during = lambda: None
        if self._host.job is not self:
            raise Failed("read", "the export is gone")
        assert 0 < length <= 1 << 20
        return memoryview(self._content[disk])[offset : offset + length]

    def witness(self, disk: str) -> str:
        self._host.fail("witness")
        return hashlib.sha256(self._content[disk]).hexdigest()

    def size(self, disk: str) -> int:
        return len(self._content[disk])

    def end(self) -> None:
        self._host.fail("end")
        if self._host.job is self:
            self._host.job = None

    def _granule(self, content: bytes, granule: int) -> Extent:
        start = granule * GRANULE
        data = content[start : start + GRANULE]
        return Extent(start, len(data), ExtentKind.DATA if self._host.allocated or any(data) else ExtentKind.ZERO)
