"""Numbers as people read them: durations, sizes, instants.  All instants are shown in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

NO_BREAK: Final = "\u00a0"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def duration(seconds: float) -> str:
    """A span of time: `12 ms`, `18.3 s`, `2 min 5 s`, `3 h 12 min`; number and unit are not torn apart."""
    sign, span = ("−" if seconds < 0 else ""), abs(seconds)
    if span < 0.9995:
        text = f"{span * 1000:.0f} ms" if span >= 0.0005 else "0 s"
    elif span < 59.95:
        text = f"{span:.1f} s"
    else:
        minutes, rest = divmod(round(span), 60)
        text = f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"
    return f"{sign}{text}".replace(" ", NO_BREAK)


def plain_seconds(seconds: float) -> str:
    """An objective as it was written down: `60 s`, `15 min`, `4 h`."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit and seconds % unit == 0:
            return f"{seconds / unit:.0f}{NO_BREAK}{name}"
    return f"{seconds:g}{NO_BREAK}s"


def size(number: int) -> str:
    """A number of bytes: `512 B`, `3.3 MiB`, `256 MiB`."""
    exponent = 0
    while abs(number) >= 1024 ** (exponent + 1) and exponent < 4:
        exponent += 1
    value, unit = number / 1024**exponent, ("B", "KiB", "MiB", "GiB", "TiB")[exponent]
    return f"{value:,.0f}{NO_BREAK}{unit}" if value >= 100 or value == int(value) else f"{value:.1f}{NO_BREAK}{unit}"


def count(number: int, one: str, many: str = "") -> str:
    """`1 machine`, `1,204 records`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def clock(at_us: int) -> str:
    """The time of day, to the millisecond."""
    moment = _moment(at_us)
    return "—" if moment is None else f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def day(at_us: int) -> str:
    """The date: `20 November 2026`."""
    moment = _moment(at_us)
    return "—" if moment is None else f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def instant(at_us: int) -> str:
    """Date and time of day to the second, machine-readable (ISO 8601)."""
    moment = _moment(at_us)
    return "" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def _moment(at_us: int) -> datetime | None:
    """The instant, None for one beyond the calendar: a record may hold any number."""
    try:
        return _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        return None
