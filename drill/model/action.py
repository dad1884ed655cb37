"""What a recovery plan does beside starting machines: scripts, manual actions and built-ins (spec K4, K8, K9, P1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

SCRIPT_SECONDS_MAX = 600
"""A script has so long (spec K8)."""


class FailoverKind(StrEnum):
    """The kinds for which an action can be selected (spec K9); a failback is the planned failover home."""

    TEST = "test"
    PLANNED = "planned"
    UNPLANNED = "unplanned"
    FAILBACK = "failback"


class When(StrEnum):
    """Where an action stands: before or after its group, or after a test's cleanup (no group)."""

    BEFORE = "before"
    AFTER = "after"
    AFTER_CLEANUP = "after-cleanup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A file of the root-owned script folder, by name and SHA-256 of its bytes (lower-case hexadecimal)."""

    name: str
    sha256: str
    timeout_seconds: int = SCRIPT_SECONDS_MAX
    does: Literal["script"] = "script"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    """Something a person does; the plan waits until it is acknowledged."""

    instruction: str
    does: Literal["manual"] = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsUpdate:
    """Rewrite the A or AAAA record of a machine's card (its index from 0) in a zone of the estate (spec P1)."""

    zone: str
    record: str
    item: str
    nic: int = 0
    ttl_seconds: int = 300
    does: Literal["dns-update"] = "dns-update"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForPort:
    """Wait until a machine answers on a TCP port."""

    item: str
    port: int
    timeout_seconds: int = 120
    does: Literal["wait-for-port"] = "wait-for-port"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInGuest:
    """Run a program inside a machine through its agent: an absolute path and its arguments, no shell."""

    item: str
    argv: tuple[str, ...]
    timeout_seconds: int = 120
    does: Literal["run-in-guest"] = "run-in-guest"


Step = Script | Manual | DnsUpdate | WaitForPort | RunInGuest


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A step of a plan, in the order of the file; `group` counts from 1 and is 0 for one after cleanup."""

    name: str
    when: When
    group: int
    kinds: tuple[FailoverKind, ...]
    step: Step
