"""Verbs of the vault in this process: as the command line runs them, without the price of a process each."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from drill.cli.main import main
from fixtures.command_line import Spoken


class Verb(Protocol):
    """`verb("show", "--json", state=folder)` is `drill vault show --json` with that state folder."""

    def __call__(self, *arguments: str, state: Path) -> Spoken: ...


@pytest.fixture
def verb(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Run a verb."""

    def run(*arguments: str, state: Path) -> Spoken:
        monkeypatch.setenv("DRILL_STATE_DIR", str(state))
        monkeypatch.delenv("DRILL_VAULT", raising=False)
        exit_code = main(["vault", *arguments])
        said = capfd.readouterr()
        return Spoken(exit_code, said.out, said.err)

    return run
