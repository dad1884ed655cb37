"""The pytest plugin, registered by entry point: markers, the lab's requirement, `--long`, outcomes per rule.

`@pytest.mark.spec("F5.a")` the test shows that a clause of the catalogue is met (`drill conformance` lists them)
`@pytest.mark.lab`          the test needs the lab; where that is impossible it is skipped by the name of what is
                            missing, and is an error instead when DRILL_REQUIRE_LAB=1
`@pytest.mark.long`         the test runs only with `--long`
`@pytest.mark.drill`        the test is a whole drill
`@pytest.mark.objective`    what a drill must reach, e.g. `objective(rpo_seconds=60, rto_seconds=120)`
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Generator, Iterator
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import pytest

from drill.errors import DrillError, Unsupported
from drill.lab import inventory, preflight
from drill.lab.standing import Lab
from drill.reporting import conformance

REQUIRE_LAB = "DRILL_REQUIRE_LAB"
MARKERS = (
    "spec(id, ...): the test shows that these clauses of the catalogue are met",
    "lab: the test needs the lab (root, /dev/net/tun, libvirt, QEMU)",
    "long: the test runs only with --long",
    "drill: the test is a whole drill",
    "objective(rpo_seconds=None, rto_seconds=None): what the drill must reach",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--long` and the place of the record of outcomes."""
    group = parser.getgroup("drill")
    group.addoption("--long", action="store_true", help="also run the tests marked `long`")
    group.addoption("--spec-carried", metavar="FILE", help="write which tests carry which rules, as JSON")
    parser.addini("spec_record", "where outcomes per rule are kept, relative to the root; empty = nowhere", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and the recorder where the project asks for one."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    place = str(config.getini("spec_record"))
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist: its reports reach the recorder of the main process
    if place and not is_worker and not config.option.collectonly:
        config.pluginmanager.register(Recorder(config.rootpath / place), "drill-spec-recorder")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note each test's rules in its reports; leave out the long ones unless asked for."""
    _note_rules(config, items)
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long") is not None]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item.get_closest_marker("long") is None]


def _note_rules(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Attach clauses to tests, before any test is deselected.  Raises UsageError for one that is in no catalogue."""
    carried = {
        item.nodeid: conformance.Carried(ids=ids, long=item.get_closest_marker("long") is not None)
        for item in items
        if (ids := tuple(clauses_of(item)))
    }
    if carried and config.getini("spec_record"):
        known = conformance.names(conformance.catalogue())
        if strangers := {f"{name} ({test})" for test, one in carried.items() for name in one.ids if name not in known}:
            raise pytest.UsageError(f"no such rule in the catalogue: {', '.join(sorted(strangers))}")
    for item in items:
        if item.nodeid in carried:
            item.user_properties.extend(("spec", name) for name in carried[item.nodeid].ids)
    if place := config.getoption("--spec-carried"):
        Path(place).write_text(json.dumps({test: asdict(one) for test, one in carried.items()}), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where the lab is required, a lab test on a machine that cannot have one."""
    if item.get_closest_marker("lab") is None:
        return
    lacking = lab_lacks()
    if lacking and os.environ.get(REQUIRE_LAB) == "1":
        pytest.fail(f"the lab is required ({REQUIRE_LAB}=1) and impossible here: {lacking}", pytrace=False)
    if lacking:
        pytest.skip(f"the lab is impossible here: {lacking}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After a lab test that carries clauses, note what its lab's hosts have: the objects its record names."""
    try:
        return (yield)
    finally:
        if item.get_closest_marker("lab") is not None and any(True for _ in clauses_of(item)):
            labs = {lab.name: lab for value in getattr(item, "funcargs", {}).values() for lab in _labs(value)}
            for lab in labs.values():
                item.user_properties.extend(("object", one) for one in _objects(lab))


def clauses_of(item: pytest.Item) -> Iterator[str]:
    """Ids of the clauses that a test carries, those of its class and module included."""
    for marker in item.iter_markers("spec"):
        yield from (str(clause) for clause in marker.args)


def _labs(value: object, depth: int = 2) -> Iterator[Lab]:
    """The labs in a fixture's value, or in the fields of one that is a dataclass."""
    if isinstance(value, Lab):
        yield value
    elif depth and is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _labs(getattr(value, field.name, None), depth - 1)


def _objects(lab: Lab) -> tuple[str, ...]:
    """What the lab's hosts have; nothing where one does not answer: then the test has named nothing."""
    try:
        return tuple(inventory.objects(lab))
    except DrillError:
        return ()


@functools.cache
def lab_lacks() -> str:
    """What this machine lacks for a lab, in words; empty when nothing."""
    try:
        preflight.require()
    except Unsupported as lacking:
        return str(lacking)
    return ""


class Recorder:
    """Keeps how every test that carries a clause ended (drill/reporting/conformance.py)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended: dict[str, conformance.Ended] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase of a test: the call counts, and a set-up or tear-down that did not pass."""
        noted = [(name, str(value)) for name, value in report.user_properties]
        if not any(name == "spec" for name, _ in noted) or (report.when != "call" and report.passed):
            return
        before = self.ended.get(report.nodeid)
        if before is None or before.outcome is not conformance.Outcome.FAILED:
            self.ended[report.nodeid] = conformance.Ended(
                outcome=conformance.Outcome(report.outcome),
                objects=tuple(dict.fromkeys(value for name, value in noted if name == "object")),
            )

    def pytest_sessionfinish(self) -> None:
        """Write what was seen over what was known."""
        if self.ended:
            conformance.remember(self.path, self.ended)
