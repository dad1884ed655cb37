"""When a test failover is completed, whether it has succeeded, and who may begin one (spec L6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from drill.model.finding import Finding

TEST_DAYS_MAX = 14
_DAY_US = 86400 * 1_000_000


def is_forced(started_us: int, now_us: int) -> bool:
    """Whether a test that waits to be completed is completed by force: after 14 days (L6)."""
    return now_us - started_us > TEST_DAYS_MAX * _DAY_US


def has_succeeded(*, test: bool, cleanup: bool, leftovers: int) -> bool:
    """A test counts as successful only if it and its cleanup were, and nothing is left (L6)."""
    return test and cleanup and not leftovers


def begin(machines: Iterable[str], under_test: Mapping[str, str]) -> tuple[Finding, ...]:
    """Machines that are in a test already; `under_test` leads from a machine to the run it is in (L6)."""
    return tuple(
        Finding(
            rule="L6", kind="machine", name=name,
            problem=f"it is in the test of run {under_test[name]}",
            remedy=f"complete run {under_test[name]} first",
        )
        for name in machines
        if name in under_test
    )  # fmt: skip
