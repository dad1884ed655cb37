"""The verbs of offline seeding, as far as they decide without a host."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from drill import data
from drill.errors import BadInput, Refused, Unreachable, Usage
from drill.estate.load import load
from drill.host import medium
from drill.wiring import controller
from drill.wiring.controller import Protection, RemoteHosts
from drill.wiring.seeding import Copies

ESTATE = load(data.path("fixtures", "estates", "shop.yaml"))


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


@pytest.mark.spec("H6.a")
def test_within_one_site_a_first_copy_is_not_carried() -> None:
    hosts = {name: replace(host, site="new-york") for name, host in ESTATE.hosts.items()}
    estate = replace(ESTATE, hosts=hosts)
    with pytest.raises(Refused, match="within one site") as found:
        Protection(estate, RemoteHosts(estate)).export_seed(next(iter(estate.items)), "/mnt/disk", quiet)
    assert found.value.rule == "H6"


def test_an_item_that_the_estate_does_not_have_is_said() -> None:
    with pytest.raises(Usage, match="no protected item"):
        Protection(ESTATE, RemoteHosts(ESTATE)).export_seed("nobody", "/mnt/disk", quiet)


def test_progress_is_told_until_the_answer_comes_and_hinders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "TELL_SECONDS", 0.01)
    told: list[tuple[int, int]] = []
    enough = threading.Event()

    def progress() -> tuple[int, int]:
        if not told:
            told.append((0, 0))
            raise Unreachable("the agent", "peer", "busy")
        enough.set()
        return 1, 2

    assert controller._told(lambda: enough.wait(60), progress, lambda *two: told.append(two)) is True
    assert (1, 2) in told


def test_copies_know_how_far_they_are() -> None:
    copies = Copies()
    assert copies.of("item") == (0, 0)
    copies.begun("item")(3, 4)
    assert copies.of("item") == (3, 4)
    copies.ended("item")
    assert copies.of("item") == (0, 0)


def test_more_files_than_a_seed_has_are_not_listed(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("medium")
    (folder / "item").mkdir()
    for name in ("a", "b", "c"):
        (folder / "item" / name).touch()
    medium.check_plain(str(folder), "item")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medium, "ENTRIES_MAX", 2)
        with pytest.raises(BadInput, match="more than 2 files"):
            medium.check_plain(str(folder), "item")
