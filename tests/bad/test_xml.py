"""XML that libvirt, or whoever took its place, should not give (tests/bad/README.md), through what reads it.

`recipe` is the document: `text` (see logs.text_of), or `replace`, a list of texts of tests/bad/sound-domain.xml and
what stands there instead.

domain (a machine to be rebuilt at the other site) · disks (those of a running domain) · read (any document)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drill.hypervisor import domain_xml, safe_xml
from tests.bad import logs
from tests.bad.cases import Case, check_refused, parameters, read

SOUND = (Path(__file__).parent / "sound-domain.xml").read_text(encoding="utf-8")
WAYS: dict[str, Callable[[str], object]] = {
    "domain": domain_xml.parse,
    "disks": domain_xml.disks,
    "read": lambda text: safe_xml.read(text, where="checkpoint XML"),
}


def document(recipe: dict[str, Any]) -> str:
    """The document of a case; a lone half of a character may stand in it."""
    if "text" in recipe:
        text = recipe["text"]
        return text if isinstance(text, str) else logs.text_of(text).decode()
    made = SOUND
    for old, new in recipe["replace"]:
        assert old in made, old
        made = made.replace(old, logs.text_of(new).decode(), 1)
    return made


@parameters("xml")
def test_xml_that_is_not_sound_is_refused(case: Case) -> None:
    text = document(dict(case.recipe))
    check_refused(case, lambda: WAYS[case.through](text), lambda: None)


@pytest.mark.parametrize("way", WAYS)
def test_a_sound_document_is_read(way: str) -> None:
    assert WAYS[way](SOUND)


def test_a_case_is_red_when_its_document_is_sound() -> None:
    case = read("xml")[0]
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_refused(case, lambda: WAYS[case.through](SOUND), lambda: None)
