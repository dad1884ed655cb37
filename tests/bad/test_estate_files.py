"""Estate files, plans and names that must be refused (tests/bad/README.md), through what `drill apply` does.

A controller has the worked examples applied; the file of the case is then proposed and written.  `recipe` is the file:
`text` (see logs.text_of) or `hex`, or `replace`, a list of texts of the worked examples and what stands there instead.

apply · domain (a name in libvirt's XML) · identity (a certificate's) · message (every name above, on a terminal)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drill import data
from drill.cli.output import printable
from drill.errors import DrillError
from drill.estate.proposal import propose, read_estate, write
from drill.host.desired import DesiredFile
from drill.hypervisor import domain_xml
from drill.model import identity
from tests.bad import logs
from tests.bad.cases import Case, check_refused, parameters, read, tree

EXAMPLES = data.path("fixtures", "new-york-chicago.yaml")
GROUPS = ("yaml-and-plans", "names")
DOMAIN = (Path(__file__).parent / "sound-domain.xml").read_text(encoding="utf-8")


def content(recipe: dict[str, Any]) -> bytes:
    """The file of a case."""
    if "hex" in recipe:
        return bytes.fromhex(recipe["hex"])
    if "text" in recipe:
        return logs.text_of(recipe["text"])
    text = EXAMPLES.read_text(encoding="utf-8")
    for old, new in recipe["replace"]:
        assert old in text, old
        text = text.replace(old, logs.text_of(new).decode(), 1)
    return text.encode()


def apply(file: Path, store: DesiredFile) -> int:
    """What `drill apply` does."""
    return write(propose(read_estate(file), file.parent, store), store)


class Controller:
    """A controller that has the worked examples applied, and beside it the file of the case."""

    def __init__(self, folder: Path) -> None:
        self.store = DesiredFile(folder / "state")
        self.file = folder / "estate.yaml"
        assert apply(EXAMPLES, self.store) == 1

    def take(self, case: Case) -> object:
        recipe: dict[str, Any] = dict(case.recipe)
        if case.through == "domain":
            return domain_xml.parse(DOMAIN.replace("<name>web</name>", recipe["xml"]))
        if case.through == "identity":
            return identity.identity(recipe["name"])
        self.file.write_bytes(content(recipe))
        return apply(self.file, self.store)

    def state(self) -> dict[str, str]:
        return tree(self.store.folder)


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


@parameters("yaml-and-plans")
def test_a_file_that_is_not_sound_is_refused_whole(case: Case, controller: Controller) -> None:
    check_refused(case, lambda: controller.take(case), controller.state)


@parameters("names")
def test_a_name_that_is_none_is_refused_and_its_message_can_be_looked_at(case: Case, controller: Controller) -> None:
    check_refused(case, lambda: controller.take(case), controller.state)
    with pytest.raises(DrillError) as found:
        controller.take(case)
    said = str(found.value).replace(str(controller.file), "").replace("\n", " ")
    assert printable(said) == said, "what would rule the terminal stands in the message itself"


def test_a_sound_file_is_taken(controller: Controller) -> None:
    controller.file.write_bytes(content({"replace": [["VM5", "VM6"]]}).replace(b"VM5", b"VM6"))
    assert apply(controller.file, controller.store) == 2
    assert domain_xml.parse(DOMAIN).name == "web"
    assert str(identity.identity("source/ny1")) == "source/ny1"


@pytest.mark.parametrize("group", GROUPS)
def test_a_case_is_red_when_its_file_is_sound(group: str, controller: Controller) -> None:
    controller.file.write_bytes(EXAMPLES.read_bytes())
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_refused(read(group)[0], lambda: apply(controller.file, controller.store), controller.state)
