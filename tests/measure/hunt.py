"""A pytest plugin that hunts mutants: the tests are collected once, and each mutant lives in a fork of that process.

First every test runs under coverage, in forks, which tells the lines that each test reaches and how long it takes.
Then, per mutant, the tests that reach its lines run, fastest first, until one fails.  A fork that uses far more
processor time than its test did before has met a mutant without end, and the kernel stops it.  At last the tests that
killed run once more on the unchanged code: what fails there killed nobody, and its mutants are hunted again.
"""

from __future__ import annotations

import gc
import resource
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any, Literal

import pytest
from coverage import Coverage
from hypothesis import Phase, settings

from fixtures.command_line import ROOT
from tests.measure.forks import Ended, forked
from tests.measure.mutation import MUTATED, Mutant, bring_to_life

Fate = Literal["killed", "timeout", "survived", "unreached"]

SECONDS_LEAST = 5
FACTOR = 10
"""A test may take this many times the processor time that it took without a mutant, and `SECONDS_LEAST`."""

MEMORY_BYTES = 6 << 30
"""Beyond this a mutant that collects without end gets a MemoryError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of a mutant: `by` is the test that killed it, `tests` counts those that ran."""

    fate: Fate
    by: str
    tests: int
    seconds: float


@dataclass(eq=False)
class Hunt:
    """Takes the place of pytest's own loop over the tests; `found` holds the fates by the mutants' names.

    A mutant is hunted with the tests that reach it, the fastest that take `budget` seconds together without a mutant;
    first among them come those that killed another mutant of the file.
    """

    mutants: Sequence[Mutant]
    jobs: int
    budget: float
    say: Callable[[str], None]
    found: dict[str, Found] = field(default_factory=dict)
    red: list[str] = field(default_factory=list)
    items: list[pytest.Item] = field(default_factory=list)
    seconds: dict[int, float] = field(default_factory=dict)
    reach: dict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    killers: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    failed: str = ""
    late: bool = False

    def pytest_configure(self) -> None:
        """Examples are drawn the same way each time, and no failure is made small."""
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", deadline=None, derandomize=True, database=None, phases=phases)

    def pytest_collection(self) -> None:
        """Before any test is imported: each keeps the settings that were in force then."""
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the first failure in this process."""
        if report.failed and not self.failed:
            self.failed, self.late = report.nodeid, "Timeout (>" in report.longreprtext

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Look which tests reach what, hunt, and run once more those that killed."""
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        self.items = session.items
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # now, else each fork empties it
        gc.freeze()
        self._look()
        self.say(f"{len(self.items)} tests, {len(self.red)} of them red without a mutant")
        doubtful = self._control(self._hunt(self.mutants, set()))
        again = [one for one in self.mutants if self.found[one.name].by in doubtful]
        self._hunt(again, doubtful)
        self.red += sorted(doubtful)
        return True

    def _look(self) -> None:
        """Run every test on the unchanged code, one file's tests in one fork."""
        files = defaultdict(list)
        for number, item in enumerate(self.items):
            files[item.nodeid.partition("::")[0]].append(number)
        for ended in forked([(file, partial(self._covered, numbers)) for file, numbers in files.items()], self.jobs):
            if ended.said is None:
                raise RuntimeError(f"{ended.name} ended by signal {ended.signal}")
            self.red += ended.said["red"]
            self.seconds |= {int(number): seconds for number, seconds in ended.said["seconds"].items()}
            for file, line, numbers in ended.said["reach"]:
                self.reach[file, line].update(numbers)

    def _covered(self, numbers: Sequence[int]) -> dict[str, Any]:
        """In a fork: run tests one after another; what each took and reached, and which failed."""
        self._settle()
        coverage = Coverage(data_file=None, config_file=False, include=[f"{ROOT / folder}/*" for folder in MUTATED])
        coverage.set_option("run:disable_warnings", ["already-imported", "no-data-collected"])
        coverage.start()
        red, seconds = [], {}
        for number in numbers:
            coverage.switch_context(str(number))
            begun, self.failed = time.process_time(), ""
            self._run(number)
            if self.failed:
                red.append(self.failed)
            else:
                seconds[number] = time.process_time() - begun
        coverage.stop()
        data, reach = coverage.get_data(), []
        for path in data.measured_files():
            file = path.removeprefix(f"{ROOT}/")
            for line, contexts in data.contexts_by_lineno(path).items():
                reach.append((file, line, [int(one) for one in contexts if one and int(one) in seconds]))
        return {"red": red, "seconds": seconds, "reach": reach}

    def _hunt(self, mutants: Sequence[Mutant], without: set[str]) -> set[str]:
        """Hunt these mutants; the tests that killed one."""
        work = []
        for one in mutants:
            numbers = [number for number in self._reaching(one) if self.items[number].nodeid not in without]
            work.append((one.name, partial(self._lived, one, self._affordable(numbers))))
        changes = {one.name: one.diff for one in mutants}
        places = {item.nodeid: number for number, item in enumerate(self.items)}
        for count, ended in enumerate(forked(work, self.jobs), start=1):
            found = self.found[ended.name] = _judged(ended)
            if found.by:
                self.killers[ended.name.partition("#")[0]].add(places[found.by])
            self.say(f"{count} of {len(work)}: {found.fate} {ended.name} {found.by or f'after {found.tests} tests'}")
            for line in () if found.by else changes[ended.name].splitlines():
                self.say(f"    {line}")
        return {self.found[one.name].by for one in mutants} - {""}

    def _reaching(self, mutant: Mutant) -> list[int]:
        """Tests that reach the mutant's lines, or its function where those have no code of their own; fastest first."""
        for lines in (mutant.lines, mutant.whole):
            numbers = set().union(*(self.reach.get((mutant.file, line), set()) for line in lines))
            if numbers:
                return sorted(numbers, key=lambda number: (self.seconds[number], number))
        return []

    def _affordable(self, numbers: Sequence[int]) -> list[int]:
        """The first of these tests, within the budget."""
        spent = accumulate(self.seconds[number] for number in numbers)
        return [number for number, seconds in zip(numbers, spent, strict=True) if seconds <= self.budget]

    def _lived(self, mutant: Mutant | None, numbers: Sequence[int]) -> dict[str, Any]:
        """In a fork: run tests on a mutant until one fails."""
        self._settle()
        tests = 0
        if mutant is not None:
            numbers = (
                sorted(numbers, key=lambda number: number not in self.killers[mutant.file]) if _lives(mutant) else ()
            )
        for number in numbers:
            tests += 1
            self._run(number, deadline=SECONDS_LEAST + FACTOR * self.seconds[number])
            if self.failed:
                break
        return {"failed": self.failed, "late": self.late, "tests": tests}

    def _control(self, killers: set[str]) -> set[str]:
        """Which of these tests fail without a mutant too, each in a fork of its own."""
        names = {item.nodeid: number for number, item in enumerate(self.items)}
        work = [(name, partial(self._lived, None, [names[name]])) for name in sorted(killers)]
        return {ended.name for ended in forked(work, self.jobs) if ended.said is None or ended.said["failed"]}

    def _settle(self) -> None:
        """In a fork: be silent, and do not eat the machine."""
        plugins = self.items[0].config.pluginmanager
        plugins.unregister(name="terminalreporter")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def _run(self, number: int, deadline: float = 0) -> None:
        """Run one test with its set-up and tear-down; with a deadline in seconds of the processor."""
        item = self.items[number]
        if deadline:
            signal.setitimer(signal.ITIMER_PROF, deadline)
            item.add_marker(pytest.mark.timeout(60 + deadline), append=False)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def _lives(mutant: Mutant) -> bool:
    """Bring a mutant to life; False where it cannot live: it kills nobody then, and counts as not reached."""
    try:
        bring_to_life(mutant)
    except (LookupError, ValueError):
        return False
    return True


def _judged(ended: Ended) -> Found:
    """A fork that the processor's clock stopped met a mutant without end; one that ended otherwise, a deadly one."""
    said: Mapping[str, Any] = ended.said or {"failed": "", "late": ended.signal == signal.SIGPROF, "tests": 1}
    fate: Fate = "survived"
    if said["late"] or ended.signal == signal.SIGKILL:
        fate = "timeout"
    elif said["failed"] or ended.said is None:
        fate = "killed"
    elif not said["tests"]:
        fate = "unreached"
    return Found(fate=fate, by=said["failed"], tests=said["tests"], seconds=ended.seconds)
