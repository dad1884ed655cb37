"""R17 on real files: a bit flips anywhere in a store, the scrub finds it, and what it touches is not served.

The same a thousand times over every kind of file, in the simulated world: tests/contract/test_scrub.py.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from drill.errors import DrillError
from drill.host.files import LocalFiles
from tests.contract.pair import ITEM, Pair

DISKS = {"vda": 24 * 4096, "vdb": 40 * 4096 + 77 * 512}


@pytest.mark.parametrize("count", [pytest.param(50, id="50"), pytest.param(1000, id="1000", marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_a_flipped_bit_of_the_store_is_found_before_it_is_served(tmp_path: Path, count: int) -> None:
    pair, rng = Pair(DISKS, LocalFiles(tmp_path / "store")), random.Random(17)
    for number in range(4):
        pair.host.write("vda", number * 4096, rng.randbytes(9000))
        pair.host.write("vdb", number * 8192, rng.randbytes(5000))
        pair.cycle()
    pair.link.store.scrub(ITEM, every=True)
    shutil.copytree(tmp_path / "store", tmp_path / "clean")
    files = sorted(path.relative_to(tmp_path / "store") for path in (tmp_path / "store").rglob("*") if path.is_file())
    files = [path for path in files if path.name not in ("scrub.json", ".lock")]
    missed = []
    for _ in range(count):
        path = tmp_path / "store" / rng.choice(files)
        clean = path.read_bytes()
        flip(path, rng)
        pair.restart_receiver()
        # page digests are mended by what they are the digests of
        if not found(pair) and not (path.suffix == ".leaves" and path.read_bytes() == clean):
            missed.append(path.name)
        shutil.rmtree(tmp_path / "store")
        shutil.copytree(tmp_path / "clean", tmp_path / "store")
    assert missed == []
    pair.restart_receiver()
    assert not found(pair)


def flip(path: Path, rng: random.Random) -> None:
    """One bit of one byte."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def found(pair: Pair) -> bool:
    """Whether the store says that it is damaged; a point that is not whole must not be served."""
    store = pair.link.store
    try:
        store.scrub(ITEM, every=True)
        points = store.points(ITEM)
    except DrillError:
        return True
    for point in points:
        if point.damaged:
            with pytest.raises(DrillError):
                store.whole_point(ITEM, point.point.epoch, point.point.sequence)
    return any(point.damaged for point in points) or bool(store.report(ITEM).owed)
