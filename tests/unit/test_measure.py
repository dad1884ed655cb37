"""The measure of tests itself: that it tells a mutant that is noticed from one that is not."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from fixtures.command_line import ROOT
from tests.measure.__main__ import lines, told
from tests.measure.hunt import Found
from tests.measure.mutation import Explanation, Mutant, changed, explanations, functions, sources

PACE = "drill/replication/pace.py"

# Runs in a process of its own: the plugin forks, and pytest is running here already.
HUNT = """
import json, sys
from tests.measure import hunt
from tests.measure.__main__ import hunted
from tests.unit.test_measure import FATES, mutant
hunt.SECONDS_LEAST = 0.3
found = hunt.Hunt([mutant(name) for name in FATES], 2, 20, lambda text: None)
hunted(found, ["tests/unit/test_pace.py"])
sys.stderr.write(json.dumps([[name, one.fate, one.by] for name, one in found.found.items()]))
"""

FATES = {
    "killed": (PACE, "self.compresses = True", "self.compresses = False"),
    "survived": (PACE, "self._bytes, self._seconds = 0, 0.0", "self._bytes, self._seconds = 0, 0"),
    "timeout": (PACE, "            write(data)\n", "            while True: pass\n"),
    "unreached": ("drill/core/points.py", "return ", "return not "),
    "unreached too": ("drill/replication/names.py", "if not", "if"),  # a cached function has no code to exchange
}


def mutant(name: str) -> Mutant:
    file, before, after = FATES[name]
    text = (ROOT / file).read_text()
    assert before in text
    return changed(name, file, text, text.replace(before, after, 1))


def test_each_mutant_meets_its_fate() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HUNT], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stderr.rpartition("[[")[1] + ended.stderr.rpartition("[[")[2])
    assert {name: fate for name, fate, _ in found} == {name: name.split()[0] for name in FATES}
    assert [by for name, _, by in found if name == "killed"] == [
        "tests/unit/test_pace.py::test_a_fast_line_gets_frames_as_they_are_until_it_is_slow"
    ]


def test_a_mutant_is_told_by_its_function_and_the_lines_that_change() -> None:
    one = mutant("killed")
    assert one.function == "drill.replication.pace.Pace.__init__"
    assert one.diff == "- self.compresses = True\n+ self.compresses = False"
    assert (ROOT / PACE).read_text().splitlines()[one.lines[0] - 1].strip() == one.removed[0]


def test_a_line_that_goes_is_told_as_one_that_goes() -> None:
    text = "def f():\n    a()\n    b()\n    b()\n    c()\n"
    one = changed("gone", "drill/core/x.py", text, text.replace("    b()\n", "", 1))
    assert (one.removed, one.added, len(one.lines)) == (("b()",), (), 1)


def found(fate: str) -> Found:
    return Found(fate=fate, by="", tests=1, seconds=1.0)  # type: ignore[arg-type]


def test_an_explained_survivor_is_shown_with_its_reason_and_counts_as_no_kill() -> None:
    names = ("killed", "survived", "timeout", "unreached")
    why = mutant("survived")
    known = Explanation(function=why.function, removed=why.removed, added=why.added, reason="0 is 0.0")
    document = told([mutant(name) for name in names], {name: found(name) for name in names}, [known])
    counts = {key: document[key] for key in ("count", "killed", "timeouts", "survived", "explained", "killed_percent")}
    assert counts == {
        "count": 4,
        "killed": 2,
        "timeouts": 1,
        "survived": 2,
        "explained": 1,
        "killed_percent": 50.0,
    }
    said = lines({**document, "seed": 1, "seconds": 2.0, "red_without_mutant": []})
    assert "  explained: 0 is 0.0" in said
    assert said[-1] == "4 mutants of seed 1 in 2.0 s: 2 killed (1 by their deadline), 2 survived (1 explained): 50.0 %"


def test_survivors_of_one_file_come_in_the_order_of_its_lines() -> None:
    chosen = [mutant("survived"), mutant("killed")]
    document = told(chosen, {one.name: found("survived") for one in chosen}, [])
    assert [one["line"] for one in document["survivors"]] == sorted(one.lines.start for one in chosen)


def code_of(function: str) -> list[str]:
    """The lines of a function, without their indentation."""
    file = next(one for one in sources() if function.startswith(one.removesuffix(".py").replace("/", ".") + "."))
    text = (ROOT / file).read_text()
    for prefix, node in functions(ast.parse(text)):
        if function.endswith(f".{prefix}{node.name}"):
            return [line.strip() for line in text.splitlines()[node.lineno - 1 : node.end_lineno]]
    return []


@pytest.mark.parametrize(
    "known", [pytest.param(one, id=f"{number} {one.function}") for number, one in enumerate(explanations(), start=1)]
)
def test_what_is_explained_stands_there_still(known: Explanation) -> None:
    code = code_of(known.function)
    assert set(known.removed) <= set(code)
    assert known.reason.endswith(".")
    assert known.removed != known.added
