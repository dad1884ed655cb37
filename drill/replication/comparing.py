"""Comparing with the receiver's head: how a source comes to hold the page digests of what the receiver has (I31).

    source                                    receiver
    chunk digests of a disk of the head   →
                                          ←   as committed, each proved by its leaves
    which pages of it rotted?             →
                                          ←   as the scrub found them; almost always none
    leaves of chunks                      →        only of those that the source's own tables have otherwise
                                          ←   as committed

The chunk digests must give the root that the head's point promises, and the leaves their chunks: nothing is believed.
After that the source's table says what the receiver has, whatever became of tracker, journal or epoch, and a disk that
is read whole need only be sent where it differs.  An answer is bounded: 1 MiB of digests, twice that as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drill.errors import BadInput, Damaged, Refused
from drill.model.point import DiskSeal, Point
from drill.ports import Files, ReceiverHead
from drill.replication import names
from drill.replication.digests import PageDigests
from drill.replication.extents import PAGE_BYTES
from drill.replication.manifest import SealedPoint, page_digests
from drill.replication.pages import (
    CHUNK_DIGEST_BYTES,
    CHUNK_TABLE_BYTES,
    LEAF_BYTES,
    LEAVES_PER_CHUNK,
    NO_LEAF,
    chunk_count,
    chunk_digest,
    root,
)
from drill.replication.rot import PAGES_MAX, RUNS_MAX

CHUNKS_MAX = 32768
"""Chunk digests in one answer: those of 512 GiB of disk."""
LEAVES_MAX = 16
"""Chunks whose leaves are in one answer."""


class HeadDigests:
    """The receiver's answers, from the committed digests of an item's head; the caller keeps the item's lock.

    Refused where the point that is asked about is the head no more, Damaged where the digests do not prove it.
    """

    def __init__(
        self,
        files: Files,
        head: SealedPoint | None,
        *,
        epoch: str,
        sequence: int,
        disk: str,
        rotten: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.rotten = rotten
        names.target(disk)
        if head is None or (head.point.epoch, head.point.sequence) != (epoch, sequence):
            raise Refused(f"{epoch}/{sequence} is not the newest point", "I9", "ask for the head again")
        seal = next((one for one in head.point.disks if one.target == disk), None)
        if seal is None:
            raise Refused(f"{epoch}/{sequence} has no disk {disk}", "I9")
        self._digests = page_digests(files, head.point.item, disk)
        self._digests.commit(head.tag, seal.size_bytes, seal.digest)
        self._count = chunk_count(seal.size_bytes)

    def chunks(self, first: int, count: int) -> str:
        """Digests of `count` chunks from `first` on (hex), each checked against its leaves."""
        if not 0 < count <= CHUNKS_MAX or not 0 <= first <= self._count - count:
            raise BadInput("request", f"chunks {first}+{count} of {self._count}, at most {CHUNKS_MAX} at once")
        return b"".join(self._digests.proven_digest(index) for index in range(first, first + count)).hex()

    def leaves(self, chunks: Sequence[int]) -> str:
        """The leaves of chunks (hex), one chunk after another."""
        if not 0 < len(chunks) <= LEAVES_MAX or not all(0 <= index < self._count for index in chunks):
            raise BadInput("request", f"leaves of chunks {list(chunks[:4])} …, at most {LEAVES_MAX} at once")
        return b"".join(bytes(self._digests.chunk(index)) for index in chunks).hex()


def learn(link: ReceiverHead, head: Point, seal: DiskSeal, digests: PageDigests) -> None:
    """Make the source's digests of a disk those of the head's disk `seal`.

    Pages that rotted at the receiver get a digest that no page has, so that they are sent whatever they are now; the
    tables then give the head's root no more, but that of the next point, once those pages are in it.

    Damaged where the receiver cannot prove its own: the disk can then only be sent whole.  After any other error the
    tables are as they were, or prove nothing.
    """
    table = _chunk_table(link, head, seal)
    if root(seal.size_bytes, table) != seal.digest:
        raise Damaged(f"the receiver's digests of {seal.target}", "they do not give the root of its newest point")
    rotten = _rotten(link, head, seal)

    def spoilt(chunks: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        for index, leaves in _leaves(link, head, seal, table, chunks):
            yield index, _without(leaves, rotten.get(index, ()))

    wanted = bytearray(table)
    for index, leaves in spoilt(sorted(rotten)):
        wanted[index * CHUNK_DIGEST_BYTES : (index + 1) * CHUNK_DIGEST_BYTES] = chunk_digest(leaves)
    digests.adopt(seal.size_bytes, bytes(wanted), spoilt)


def _rotten(link: ReceiverHead, head: Point, seal: DiskSeal) -> dict[int, list[int]]:
    """The pages that rotted, by chunk and counted from its first."""
    said = link.rotten(head.item, head.epoch, head.sequence, seal.target)
    most, end, found = -(-seal.size_bytes // PAGE_BYTES), 0, dict[int, list[int]]()
    if len(said) > RUNS_MAX or sum(max(0, count) for _, count in said) > PAGES_MAX:
        raise BadInput("the receiver's rotten pages", f"more than {PAGES_MAX} in {RUNS_MAX} runs")
    for first, count in said:
        if not end <= first < first + count <= most:
            raise BadInput("the receiver's rotten pages", f"{first}+{count} after {end}, of {most}")
        end = first + count
        for page in range(first, end):
            found.setdefault(page // LEAVES_PER_CHUNK, []).append(page % LEAVES_PER_CHUNK)
    return found


def _without(leaves: bytes, places: Sequence[int]) -> bytes:
    """The leaves of a chunk, some of which are those of no page."""
    found = bytearray(leaves)
    for place in places:
        found[place * LEAF_BYTES : (place + 1) * LEAF_BYTES] = NO_LEAF
    return bytes(found)


def _chunk_table(link: ReceiverHead, head: Point, seal: DiskSeal) -> bytes:
    total, table = chunk_count(seal.size_bytes), bytearray()
    while (first := len(table) // CHUNK_DIGEST_BYTES) < total:
        count = min(total - first, CHUNKS_MAX)
        said = link.chunks(head.item, head.epoch, head.sequence, seal.target, first, count)
        table += _bytes(said, count * CHUNK_DIGEST_BYTES)
    return bytes(table)


def _leaves(
    link: ReceiverHead, head: Point, seal: DiskSeal, table: bytes, chunks: Sequence[int]
) -> Iterator[tuple[int, bytes]]:
    for start in range(0, len(chunks), LEAVES_MAX):
        asked = tuple(chunks[start : start + LEAVES_MAX])
        said = link.leaves(head.item, head.epoch, head.sequence, seal.target, asked)
        found = _bytes(said, len(asked) * CHUNK_TABLE_BYTES)
        for place, index in enumerate(asked):
            leaves = found[place * CHUNK_TABLE_BYTES : (place + 1) * CHUNK_TABLE_BYTES]
            if chunk_digest(leaves) != table[index * CHUNK_DIGEST_BYTES : (index + 1) * CHUNK_DIGEST_BYTES]:
                raise Damaged(f"the receiver's digests of {seal.target}", f"chunk {index} has other leaves")
            yield index, leaves


def _bytes(text: str, length: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError as error:
        raise BadInput("the receiver's digests", "not hexadecimal") from error
    if len(found) != length:
        raise BadInput("the receiver's digests", f"{len(found)} bytes where {length} were asked for")
    return found
