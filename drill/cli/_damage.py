"""What status and points say of a replica that rotted, and what to do about it."""

from __future__ import annotations

from drill.model.retention import StoreReport


def lines(report: StoreReport, item: str) -> list[str]:
    """A line for the damage and one for the remedy; none for a replica that is whole as far as it was looked at."""
    bad = [one for one in report.points if one.damaged]
    if not bad and not report.owed:
        return []
    disks = sorted({target for one in bad for target in one.damaged} | set(report.owed))
    said = f"DAMAGED: {', '.join(disks)} rotted in {len(bad)} of {len(report.points)} points, which are not served"
    pages = dict(report.rotten)
    owed = [f"{pages[one]} pages of {one}" if one in pages else f"all of {one}" for one in report.owed]
    if owed:
        what = f"what to do: {' and '.join(owed)} come with the next cycle, or now: drill cycle {item}"
    else:
        what = "what to do: later points are whole, and retention takes the damaged ones away"
    return [said, f"{what}; have the disks of the receiver's host looked at"]
