"""One tree of errors: what went wrong, in typed fields, and what the operator can do about it.

A class is a remedy, not a place: two failures that the operator mends alike share a class.  Every class has a stable
id and exit code (docs/guide/errors.md lists them), a message template over its fields, and a remedy.
*Failed* means certainly without effect; `Unknown` means that nobody can say, and a timeout is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import ClassVar, cast


@dataclass(eq=False)
class DrillError(Exception):
    """The root.  `str()` is one sentence for a person; `remedy` says what to do next."""

    exit_code: ClassVar[int] = 1
    template: ClassVar[str] = "drill failed"
    remedy_template: ClassVar[str] = ""

    @property
    def id(self) -> str:
        """Stable identifier for scripts: the class name."""
        return type(self).__name__

    @property
    def remedy(self) -> str:
        """What the operator can do, or an empty string."""
        return self.remedy_template.format(**vars(self))

    def __str__(self) -> str:
        return self.template.format(**vars(self))


@dataclass(eq=False)
class Usage(DrillError):
    """The request itself is wrong: an unknown name, an impossible combination."""

    exit_code: ClassVar[int] = 2
    template: ClassVar[str] = "{problem}"
    remedy_template: ClassVar[str] = "{cure}"
    problem: str
    cure: str = ""


@dataclass(eq=False)
class Unsupported(DrillError):
    """The machine lacks something drill needs."""

    exit_code: ClassVar[int] = 3
    template: ClassVar[str] = "{lacking} is missing: {detail}"
    remedy_template: ClassVar[str] = "{cure}"
    lacking: str
    detail: str
    cure: str = ""


@dataclass(eq=False)
class BadInput(DrillError):
    """A file, a peer or a guest said something that cannot be accepted; nothing was changed."""

    exit_code: ClassVar[int] = 4
    template: ClassVar[str] = "{where}: {problem}"
    where: str
    problem: str


@dataclass(eq=False)
class Refused(DrillError):
    """A rule forbids it; nothing was changed.  `rule` is the catalogue id, when there is one."""

    exit_code: ClassVar[int] = 5
    template: ClassVar[str] = "refused: {reason}"
    remedy_template: ClassVar[str] = "{cure}"
    reason: str
    rule: str = ""
    cure: str = ""


@dataclass(eq=False)
class Failed(DrillError):
    """An action on a host, guest or peer failed, certainly without lasting effect."""

    exit_code: ClassVar[int] = 6
    template: ClassVar[str] = "{action} failed: {cause}"
    remedy_template: ClassVar[str] = "{cure}"
    action: str
    cause: str
    cure: str = ""


@dataclass(eq=False)
class Unknown(DrillError):
    """An action was begun and its outcome is not known: look before repeating it."""

    exit_code: ClassVar[int] = 7
    template: ClassVar[str] = "outcome of {action} is unknown: {cause}"
    action: str
    cause: str


@dataclass(eq=False)
class Unreachable(DrillError):
    """A host, agent or guest does not answer; nothing was asked of it yet."""

    exit_code: ClassVar[int] = 8
    template: ClassVar[str] = "{what} does not answer at {address}: {cause}"
    remedy_template: ClassVar[str] = "see that it runs, and that {address} can be reached from this machine"
    what: str
    address: str
    cause: str


@dataclass(eq=False)
class Damaged(DrillError):
    """Stored data does not match its digest; it is not served."""

    exit_code: ClassVar[int] = 9
    template: ClassVar[str] = "{what} is damaged: {problem}"
    what: str
    problem: str


@dataclass(eq=False)
class ResyncNeeded(DrillError):
    """Continuity of a disk cannot be proved (I31); it must be read whole again."""

    exit_code: ClassVar[int] = 10
    template: ClassVar[str] = "{item} {disk}: resync needed, {trigger}"
    item: str
    disk: str
    trigger: str


@dataclass(eq=False)
class Cancelled(DrillError):
    """The operator asked for it; what had been made was taken away again."""

    exit_code: ClassVar[int] = 11
    template: ClassVar[str] = "{action} was cancelled"
    action: str


@dataclass(eq=False)
class Untrusted(DrillError):
    """A certificate is not accepted: nothing was asked, and nothing was changed.  Never holds a key."""

    exit_code: ClassVar[int] = 13
    template: ClassVar[str] = "{who} {problem}"
    remedy_template: ClassVar[str] = "{cure}"
    who: str
    problem: str
    cure: str = ""


@dataclass(eq=False)
class DrillRed(DrillError):
    """A drill ran to its end and its verdict is not *pass*."""

    exit_code: ClassVar[int] = 20
    template: ClassVar[str] = "the drill's verdict is {verdict}; see {report}"
    verdict: str
    report: str


def revive(error_id: str, fields: Mapping[str, object]) -> DrillError | None:
    """The error of that id with those fields, as it was raised elsewhere; None for an id or fields that do not fit."""
    kind = next((one for one in DrillError.__subclasses__() if one.__name__ == error_id), None)
    if kind is None or fields.keys() != {one.name for one in dataclass_fields(kind)}:
        return None
    return cast("Callable[..., DrillError]", kind)(**{name: str(value) for name, value in fields.items()})
