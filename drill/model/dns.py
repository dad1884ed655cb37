"""DNS zones that a plan may update (spec P1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsZone:
    """A zone, and who takes updates of it by RFC 2136: `server` is `address:port`.

    `credential` names the TSIG key, "" for a server that asks for none.  `item` is the protected machine that serves
    the zone: in a test failover only its copy inside the bubble is updated, and where it is "" the update is skipped.
    """

    name: str
    server: str
    credential: str = ""
    algorithm: str = "hmac-sha256"
    item: str = ""
