"""Instants as operators read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def instant(at_us: int) -> str:
    """`2026-11-26 03:15:00 UTC`, from microseconds since the epoch; the number itself where no calendar reaches it."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    except OverflowError:
        return f"microsecond {at_us}"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
