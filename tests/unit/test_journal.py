"""The source's journal: whole or not there, never in doubt."""

from __future__ import annotations

import errno

import pytest

from drill.errors import Damaged, Failed, Unknown
from drill.model.point import ProtectionOrder
from drill.replication.journal import Journal, JournalFile
from tests.contract.memory_files import MemoryFiles

ITEM = "item-1"
ORDER = ProtectionOrder(item=ITEM, domain="vm", receiver="host:1", interval_seconds=30)
PATH = f"{ITEM}/journal.json"


def test_what_was_saved_is_loaded() -> None:
    files = MemoryFiles()
    assert JournalFile(files, ITEM).load() is None
    JournalFile(files, ITEM).save(Journal(order=ORDER, owed=("vda",)))
    assert JournalFile(files, ITEM).load() == Journal(order=ORDER, owed=("vda",))


def test_what_was_saved_survives_a_power_failure() -> None:
    files = MemoryFiles()
    file = JournalFile(files, ITEM)
    file.save(Journal(order=ORDER))
    file.save(Journal(order=ORDER, ended=True))
    files.lose_power(names_survive=False, data_survives=False)
    assert JournalFile(files, ITEM).load() == Journal(order=ORDER, ended=True)


def test_every_flipped_bit_is_found() -> None:
    files = MemoryFiles()
    JournalFile(files, ITEM).save(Journal(order=ORDER))
    whole = files.read(PATH)
    for at in range(len(whole)):
        files.write(PATH, at, bytes([whole[at] ^ 2]))
        try:
            assert JournalFile(files, ITEM).load() == Journal(order=ORDER), "only the generation is not covered"
            assert whole[:at].count(b" ") == 2
            files.put_back({PATH: whole})
        except Damaged:
            files.write(PATH, at, whole[at : at + 1])


def test_a_journal_cut_short_is_damaged() -> None:
    files = MemoryFiles()
    JournalFile(files, ITEM).save(Journal(order=ORDER))
    files.truncate(PATH, 100)
    with pytest.raises(Damaged):
        JournalFile(files, ITEM).load()


def test_a_write_that_fails_leaves_the_old_journal() -> None:
    files = MemoryFiles()
    file = JournalFile(files, ITEM)
    file.save(Journal(order=ORDER))

    def full(operation: str, path: str) -> None:
        if operation == "write":
            raise OSError(errno.ENOSPC, "no space", path)

    files.fail = full
    with pytest.raises(OSError, match="no space"):
        file.save(Journal(order=ORDER, ended=True))
    files.fail = lambda operation, path: None
    assert JournalFile(files, ITEM).load() == Journal(order=ORDER)


def test_a_sync_that_fails_after_the_rename_ends_all_saving() -> None:
    files = MemoryFiles()
    file = JournalFile(files, ITEM)
    file.save(Journal(order=ORDER))

    def broken(operation: str, path: str) -> None:
        if operation == "sync_folder":
            raise OSError(errno.EIO, "broken", path)

    files.fail = broken
    with pytest.raises(Unknown):
        file.save(Journal(order=ORDER, ended=True))
    files.fail = lambda operation, path: None
    with pytest.raises(Failed, match="unknown"):
        file.save(Journal(order=ORDER))


def test_generations_only_grow() -> None:
    files = MemoryFiles()
    seen = []
    for _ in range(3):
        file = JournalFile(files, ITEM)
        file.load()
        file.save(Journal(order=ORDER))
        seen.append(int(files.read(PATH).split(b" ")[2]))
    assert seen == sorted(set(seen))


def test_deleting_leaves_nothing() -> None:
    files = MemoryFiles()
    file = JournalFile(files, ITEM)
    file.save(Journal(order=ORDER))
    files.make_folder(f"{ITEM}/digests")
    files.write(f"{ITEM}/digests/vda.leaves", 0, b"x")
    file.delete()
    file.delete()
    assert files.list("") == ()
