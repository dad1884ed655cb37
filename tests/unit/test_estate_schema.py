"""The published JSON schema of estate files is the current one, and every key is in docs/formats.md."""

from __future__ import annotations

import json
import re

import pytest

from drill.cli.main import main
from drill.estate import published
from fixtures.command_line import ROOT

PUBLISHED = ROOT / "docs" / "estate.schema.json"


def test_the_published_schema_is_the_current_one() -> None:
    said = "write it anew: drill estate schema > docs/estate.schema.json"
    assert PUBLISHED.read_text(encoding="utf-8") == published.text(), said


def test_the_verb_prints_the_published_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estate", "schema"]) == 0
    assert capsys.readouterr().out == PUBLISHED.read_text(encoding="utf-8")
    assert main(["estate", "schema", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == published.json_schema()


def test_no_mapping_of_the_schema_takes_unknown_keys() -> None:
    for name, section in published.json_schema()["$defs"].items():
        assert section["additionalProperties"] is False, name


def test_every_key_stands_in_the_formats() -> None:
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    chapter = text[text.index("## Estate YAML") : text.index("## History of rows")]
    described = set(re.findall(r"[a-z_0-9]+", chapter))
    schema = published.json_schema()
    for name, section in {"the file": schema, **schema["$defs"]}.items():
        missing = section["properties"].keys() - described
        assert not missing, f"docs/formats.md lacks {missing} of {name}"
