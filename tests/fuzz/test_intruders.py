"""Identity in the walk: a hole in who may send what, in terms or in revocation makes a walk fall, and names I11."""

from __future__ import annotations

import pytest

from drill.fuzz import walk
from drill.fuzz.walk import Tally
from drill.identity import allowed
from drill.identity.certificate import Passport
from drill.model.identity import Grant, Identity


def first_fall(most: int = 200) -> str:
    for _, _, fall in walk.run(3, 60, Tally(), most=most):
        return fall.invariant
    return ""


def test_nothing_falls_as_it_ships() -> None:
    assert not first_fall(20)


def test_an_allow_list_that_lets_everybody_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drill.fuzz.papers.refusal", lambda *_: None)
    assert first_fall() == "I11"


def test_a_stale_term_that_is_accepted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terms(by: Identity, asked: allowed.Asked, grant: Grant | None) -> str | None:
        return None if grant is not None and grant.sender == by else "no"

    monkeypatch.setattr(allowed, "_ungranted", no_terms)
    assert first_fall() == "I11"


def test_a_revocation_that_is_not_looked_at_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Passport.check
    monkeypatch.setattr(Passport, "check", lambda self, usage, now, revoked: check(self, usage, now, frozenset()))
    assert first_fall() == "I11"
