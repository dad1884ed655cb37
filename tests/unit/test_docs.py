"""Documents that are checked against the code: verbs, options, errors, promises, links, long files."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from drill import errors
from drill.cli.main import root
from fixtures.command_line import ROOT

DOCS = ROOT / "docs"
LONG = 350
PROMISES = [*(f"I{n}" for n in range(1, 35)), *(f"L{n}" for n in range(1, 6))]


def text_of(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def rows(text: str, columns: int) -> Iterator[list[str]]:
    """Cells of the rows of a document's tables that have so many columns."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == columns:
            yield cells


def sections(text: str) -> dict[str, str]:
    """Third-level headings and what stands beneath each."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None, name
        yield from commands(found, (*words, name))


def error_classes() -> list[type[errors.DrillError]]:
    """All classes of the tree but its root."""
    found = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    return [one for one in found if issubclass(one, errors.DrillError) and one is not errors.DrillError]


def test_every_verb_and_option_has_its_paragraph() -> None:
    described = sections(text_of("docs", "guide", "commands.md"))
    for name, command in commands(root, ("drill",)):
        assert name in described, f"docs/guide/commands.md lacks `### {name}`"
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert f"`{parameter.opts[0]}`" in described[name], f"{name} {parameter.opts[0]}"


def test_every_verb_that_tells_something_knows_json() -> None:
    silent = {"drill lab exec", "drill agent"}  # the one becomes another program, the other serves until it is ended
    for name, command in commands(root, ("drill",)):
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--json" in options) == (name not in silent), name


def test_no_paragraph_describes_a_verb_that_does_not_exist() -> None:
    known = {name for name, _ in commands(root, ("drill",))}
    assert set(sections(text_of("docs", "guide", "commands.md"))) <= known


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_every_error_has_its_row(error: type[errors.DrillError]) -> None:
    described = {cells[0]: cells[1] for cells in rows(text_of("docs", "guide", "errors.md"), 4)}
    assert described.get(f"`{error.__name__}`") == str(error.exit_code)


def test_no_two_errors_share_an_exit_code() -> None:
    codes = [error.exit_code for error in error_classes()]
    assert len(codes) == len(set(codes))
    assert not set(codes) & {0, 1, 130, 141}


def test_every_promise_has_its_row_and_names_tests_that_exist_or_is_open() -> None:
    tests = {
        f"{file.relative_to(ROOT)}::{name}"
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    described = {cells[0]: cells[2] for cells in rows(text_of("docs", "guarantees.md"), 3)}
    for promise in PROMISES:
        named = re.findall(r"`(tests/[^`]+)`", described[promise])
        assert named or described[promise] == "open", promise
    everything = set(re.findall(r"`(tests/[^`]+::[^`]+)`", text_of("docs", "guarantees.md")))
    assert everything <= tests, everything - tests


def test_every_long_file_is_listed_as_a_violation_of_our_own() -> None:
    long = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "drill").rglob("*.py")
        if len(file.read_text(encoding="utf-8").splitlines()) > LONG
    }
    listed = set(re.findall(r"^  - `(drill/[^`]+)`", text_of("docs", "style.md"), re.MULTILINE))
    assert long <= listed, f"docs/style.md does not list {long - listed}"


@pytest.mark.parametrize(
    "document", sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")]), ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target


def test_documents_that_the_code_cites_exist() -> None:
    for file in [ROOT / "run", *(ROOT / "drill").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for cited in re.findall(r"(?<![\w/])docs/(?:adr/\d{4}|[\w/-]+\.md)", file.read_text(encoding="utf-8")):
            assert (ROOT / cited).exists() or list(ROOT.glob(f"{cited}-*.md")), f"{file}: {cited}"


def test_every_decision_is_listed_and_has_its_four_parts() -> None:
    for record in (DOCS / "adr").glob("*.md"):
        text = record.read_text(encoding="utf-8")
        assert re.match(r"# \d+\. ", text), record.name
        for part in ("Context", "Choice", "Rejected", "Consequences"):
            assert f"## {part}" in text, f"{record.name} lacks {part}"


def test_every_decision_has_a_number_of_its_own_that_its_title_repeats() -> None:
    files = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        assert file.read_text().startswith(f"# {int(file.name[:4])}. "), file.name
