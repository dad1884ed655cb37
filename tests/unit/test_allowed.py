"""Who may ask what: every combination of who, what and about which item, and the terms of grants."""

from __future__ import annotations

import errno
import itertools

import pytest

from drill.errors import BadInput, Failed, Refused, Unknown
from drill.identity.allowed import RESUME, SEND, Asked, refusal
from drill.model.identity import Grant, Role, identity
from drill.replication.grants import GrantFiles
from tests.contract.memory_files import MemoryFiles

GRANTS = {"a": Grant(item="a", sender=identity("source/s"), term=2)}
EVERYBODY = [identity(text) for text in ("controller/c", "source/s", "source/x", "receiver/r", "receiver/s")]


def asked(of: Role, operation: str, item: str | None, term: int | None) -> Asked:
    return Asked(of=of, operation=operation, item=item, term=term, for_sources=operation in (SEND, RESUME, "head"))


def test_only_what_is_said_is_allowed_and_nothing_else() -> None:
    """All of it, one by one: the table at the top of drill/identity/allowed.py."""
    allowed = set()
    for by, of, operation, item, term in itertools.product(
        EVERYBODY, (Role.SOURCE, Role.RECEIVER), (SEND, RESUME, "head", "forget"), ("a", "b", None), (None, 1, 2, 3)
    ):
        if refusal(by, asked(of, operation, item, term), GRANTS) is None:
            allowed.add((str(by), of.value, operation, item, term))
    of_controllers = {
        ("controller/c", of, operation, item, term)
        for of, operation, item, term in itertools.product(
            ("source", "receiver"), ("head", "forget"), ("a", "b", None), (None, 1, 2, 3)
        )
    }
    of_the_source = {
        ("source/s", "receiver", operation, "a", term) for operation in (SEND, RESUME, "head") for term in (None, 2)
    }
    assert allowed == of_controllers | of_the_source


@pytest.mark.parametrize(
    "text", ["", "source", "source/", "root/a", "source/a/b", "source/..", "drill:source/ a", "SOURCE/a"]
)
def test_a_text_that_names_nobody_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        identity(text)


def test_an_identity_survives_its_uri() -> None:
    for one in EVERYBODY:
        assert identity(one.uri) == one == identity(str(one))


def grant(sender: str, term: int, item: str = "a") -> Grant:
    return Grant(item=item, sender=identity(sender), term=term)


def test_a_grant_outlives_the_agent() -> None:
    files = MemoryFiles()
    GrantFiles(files).allow(grant("source/s", 1))
    files.lose_power(names_survive=False, data_survives=False)
    assert GrantFiles(files).all() == {"a": grant("source/s", 1)}


def test_terms_only_rise_and_within_one_the_sender_stays() -> None:
    grants = GrantFiles(MemoryFiles())
    grants.allow(grant("source/s", 2))
    grants.allow(grant("source/s", 2))
    for late in (grant("source/x", 2), grant("source/x", 1), grant("source/s", 1)):
        with pytest.raises(Refused, match="in term 2") as caught:
            grants.allow(late)
        assert caught.value.rule == "I29"
    grants.allow(grant("source/x", 3))
    assert grants.all() == {"a": grant("source/x", 3)}


def test_a_grant_that_rotted_lets_nobody_in_and_can_be_given_again() -> None:
    files = MemoryFiles()
    GrantFiles(files).allow(grant("source/s", 1))
    content = bytearray(files.read(".grants/a.json"))
    content[-3] ^= 1
    files.write(".grants/a.json", 0, bytes(content))
    grants = GrantFiles(files)
    assert grants.all() == {}
    grants.allow(grant("source/s", 1))
    assert GrantFiles(files).all() == {"a": grant("source/s", 1)}


def test_an_item_that_is_a_path_is_refused() -> None:
    with pytest.raises(BadInput):
        GrantFiles(MemoryFiles()).allow(grant("source/s", 1, item="../a"))


def test_a_grant_of_another_item_in_its_file_is_not_believed() -> None:
    files = MemoryFiles()
    GrantFiles(files).allow(grant("source/s", 1))
    files.replace(".grants/a.json", ".grants/b.json")
    assert GrantFiles(files).all() == {}


def test_after_a_grant_of_which_nobody_knows_no_other_is_written_until_the_agent_starts_again() -> None:
    files = MemoryFiles()
    grants = GrantFiles(files)
    grants.allow(grant("source/s", 1))

    def fail(operation: str, path: str) -> None:
        if (operation, path) == ("sync_folder", ".grants"):
            raise OSError(errno.EIO, "planted", path)

    files.fail = fail
    with pytest.raises(Unknown):
        grants.allow(grant("source/x", 2))
    files.fail = lambda operation, path: None
    assert grants.all() == {"a": grant("source/s", 1)}
    with pytest.raises(Failed, match="is unknown") as caught:
        grants.allow(grant("source/s", 1, item="b"))
    assert caught.value.remedy == "start the agent again"
    GrantFiles(files).allow(grant("source/s", 1, item="b"))
