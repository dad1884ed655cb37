"""`./run measure mutants | coverage`: how well the tests see (CONTRIBUTING.md)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from drill.cli.output import Output, spoken
from drill.errors import DrillError, Failed
from fixtures.command_line import ROOT
from tests.measure.hunt import Found, Hunt
from tests.measure.mutation import Explanation, Mutant, draw, explanations, sources

TESTS = ("tests/unit", "tests/vault", "tests/contract", "tests/bad", "tests/fuzz")
APART = (
    "unit/test_cli_verbs",
    "unit/test_conformance",
    "unit/test_docs",
    "unit/test_house",
    "unit/test_run_script",
    "fuzz/test_planted",
)
"""These read the tree, or start processes of their own, which know nothing of a mutant."""


@click.group()
def measure() -> None:
    """Measure how well the tests see."""


@measure.command()
@click.option("--count", default=300, show_default=True, help="How many mutants to draw.")
@click.option("--seed", default=1, show_default=True, help="Which ones: the same seed draws the same.")
@click.option("--jobs", default=2, show_default=True, help="How many mutants are hunted at once.")
@click.option("--budget", default=20.0, show_default=True, help="Seconds of tests for each mutant, fastest first.")
@click.option("--least", default=90.0, show_default=True, help="Percent to be killed; with fewer the exit code is 1.")
@click.option("--file", "files", multiple=True, help="Mutate this file of the core or the engine alone; repeatable.")
@click.option("--only", multiple=True, help="Hunt the mutant of this name alone; repeatable.")
@click.option("--tests", multiple=True, default=TESTS, show_default=True, help="Where to look for tests; repeatable.")
@spoken
def mutants(
    out: Output,
    count: int,
    seed: int,
    jobs: int,
    budget: float,
    least: float,
    files: Sequence[str],
    only: Sequence[str],
    tests: Sequence[str],
) -> int:
    """Change one expression at a time in the core and the engine, and see whether a test notices."""
    begun = time.monotonic()
    out.progress("looking for what can be changed")
    files = sorted({name.partition("#")[0] for name in only} or files or sources())
    everything = draw(sys.maxsize if only else count, seed, files)
    chosen = [one for one in everything if not only or one.name in only]
    hunt = Hunt(chosen, jobs, budget, out.progress)
    hunted(hunt, tests)
    document = told(chosen, hunt.found, explanations())
    document |= {"seed": seed, "red_without_mutant": hunt.red, "seconds": round(time.monotonic() - begun, 1)}
    out.result(document, *lines(document))
    return 0 if document["killed_percent"] >= least else 1


def hunted(hunt: Hunt, tests: Sequence[str]) -> None:
    """Let pytest collect the tests and the plugin hunt with them; what they leave behind goes with a folder."""
    with tempfile.TemporaryDirectory(prefix="drill-hunt-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        argv = ["-q", "-s", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        argv += ["-o", "spec_record=", f"--basetemp={folder}/t", f"--rootdir={ROOT}"]
        argv += [f"--ignore={ROOT}/tests/{one}.py" for one in APART]
        status = pytest.main([*argv, *tests], plugins=[hunt])
    if status != pytest.ExitCode.OK:
        raise Failed("hunting mutants", f"pytest ended with {status!r}")


def told(chosen: Sequence[Mutant], found: Mapping[str, Found], known: Sequence[Explanation]) -> dict[str, Any]:
    """The result as JSON.  A mutant that ran into its deadline counts as killed, an explained one does not."""
    fates = Counter(one.fate for one in found.values())
    reasons = {one.name: next((why.reason for why in known if why.tells_of(one)), "") for one in chosen}
    left = [one for one in chosen if found[one.name].fate in ("survived", "unreached")]
    survivors = [
        {
            "name": one.name,
            "function": one.function,
            "line": one.lines[0],
            "diff": one.diff,
            "fate": found[one.name].fate,
            "tests": found[one.name].tests,
            "explained": reasons[one.name],
        }
        for one in sorted(left, key=lambda one: (one.file, one.lines.start, one.name))
    ]
    return {
        "count": len(chosen),
        "killed": fates["killed"] + fates["timeout"],
        "timeouts": fates["timeout"],
        "survived": len(left),
        "explained": sum(1 for one in left if reasons[one.name]),
        "killed_percent": round(100 * (len(chosen) - len(left)) / max(len(chosen), 1), 2),
        "survivors": survivors,
    }


def lines(document: Mapping[str, Any]) -> list[str]:
    """The result as lines: each survivor with its diff, then the counts."""
    said = []
    for one in document["survivors"]:
        said += [f"{one['fate']} after {one['tests']} tests: {one['name']} {one['function']} line {one['line']}"]
        said += [f"  {line}" for line in one["diff"].splitlines()]
        said += [f"  explained: {one['explained']}"] if one["explained"] else []
    said += [f"red without a mutant, and left out: {test}" for test in document["red_without_mutant"]]
    said += [
        "{count} mutants of seed {seed} in {seconds} s: {killed} killed ({timeouts} by their deadline), "
        "{survived} survived ({explained} explained): {killed_percent} %".format(**document)
    ]
    return said


@measure.command()
@spoken
def coverage(out: Output) -> int:
    """Run the quick tests and report the branches of the core and the engine that none takes."""
    tool = str(Path(sys.executable).with_name("coverage"))
    argv = [tool, "run", "-m", "pytest", "-q", *TESTS[:-1]]
    ran = subprocess.run(argv, cwd=ROOT, timeout=1800, check=False)
    if ran.returncode:
        raise Failed("measuring coverage", f"pytest ended with exit code {ran.returncode}")
    report = subprocess.run([tool, "report"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    out.result({"complete": report.returncode == 0, "report": report.stdout}, *report.stdout.splitlines())
    return int(report.returncode != 0)


if __name__ == "__main__":
    with Output.opened(json="--json" in sys.argv) as output:
        try:
            sys.exit(measure.main(standalone_mode=False, obj=output))
        except DrillError as error:
            output.error(error)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
