"""Who speaks to the simulated receiver: certificates as the receiver sees them, grants, and what befalls both.

What decides is what ships: `Passport.check` and `refusal`, asked as the agent's service asks them.  Only TLS is left
out: a peer here shows what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from drill.errors import Refused
from drill.identity.allowed import SEND, Asked, refusal
from drill.identity.certificate import Passport, Usage
from drill.model.cycle import LogHeader
from drill.model.identity import Grant, Identity, Role

ALWAYS = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
"""Clocks of a walk jump by years; a certificate ends only where a step says so."""
MIDWAY: Final = ("certificate expired", "certificate not yet valid", "certificate revoked", "certificate rotated")
"""What befalls the sender's certificate while its log is on its way."""
INTRUDERS: Final = ("another item's source", "a receiver", "a controller", "an old term", "a revoked", "an expired")


class Papers:
    """The passports of a world; `item` is granted to its source, in whatever term it sends.

    (What terms mean to the store is walked by the sources that come back from an old one, I29.)
    """

    def __init__(self, item: str, now_us: Callable[[], int], noted: Callable[[str], None]) -> None:
        self.item = item
        self._term: int | None = None
        self._restored = True
        self.own = _passport(Identity(role=Role.SOURCE, name="near"), 1)
        self.shown = self.own
        self._now_us = now_us
        self._noted = noted
        self._revoked: set[int] = set()
        self._serial = 1

    def check(self) -> None:
        """Whether the certificate of whoever speaks is still good; Untrusted when it is not."""
        self.shown.check(Usage.CLIENT, self._now_us(), frozenset(self._revoked))

    def admit(self, operation: str, item: str, term: int | None = None) -> None:
        """Let a request pass; Untrusted or Refused where its sender may not ask it."""
        self.check()
        asked = Asked(of=Role.RECEIVER, operation=operation, item=item, term=term, for_sources=True)
        granted = self._term if self._term is not None else term or 1
        grants = {self.item: Grant(item=self.item, sender=self.own.identity, term=granted)}
        if reason := refusal(self.shown.identity, asked, grants):
            raise Refused(reason, "I11")

    def send(self, header: LogHeader) -> None:
        """A log is offered."""
        self.admit(SEND, header.item, header.term)

    def arrive(self, kind: str) -> None:
        """The receiver looks at the sender's certificate while a log arrives; `kind` befalls it first, if anything."""
        if kind:
            self._noted(kind)
            self.befall(kind)
        self.check()

    def befall(self, kind: str) -> None:
        """Something happens to the source's certificate; a rotated one is another one from here on."""
        self._restored = False
        if kind == "certificate revoked":
            self._revoked.add(self.shown.serial)
        elif kind == "certificate expired":
            self.shown = replace(self.shown, valid_until=ALWAYS[0])
        elif kind == "certificate not yet valid":
            self.shown = replace(self.shown, valid_from=ALWAYS[1])
        else:
            self.renew()

    def renew(self) -> None:
        """The operator issues the source's certificate anew, where something happened to it."""
        if self._restored:
            return
        self._restored = True
        self._serial += 1
        self.own = self.shown = replace(self.own, serial=self._serial)

    @contextmanager
    def intruder(self, kind: str, term: int) -> Iterator[None]:
        """Somebody else speaks for as long as the block lasts, with a certificate of the same authority; or the source
        itself does, of `term`, when another one has begun."""
        self._term = term + 1 if kind == "an old term" else None
        self.shown = {
            "another item's source": replace(self.own, identity=Identity(role=Role.SOURCE, name="other")),
            "a receiver": replace(self.own, identity=Identity(role=Role.RECEIVER, name="far")),
            "a controller": replace(self.own, identity=Identity(role=Role.CONTROLLER, name="ops")),
            "a revoked": replace(self.own, serial=0),
            "an expired": replace(self.own, valid_until=ALWAYS[0]),
        }.get(kind, self.own)
        self._revoked.add(0)
        try:
            yield
        finally:
            self.shown, self._term = self.own, None


def _passport(identity: Identity, serial: int) -> Passport:
    return Passport(
        identity=identity,
        serial=serial,
        usages=frozenset({Usage.CLIENT}),
        valid_from=ALWAYS[0],
        valid_until=ALWAYS[1],
    )
