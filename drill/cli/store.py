"""`drill store`: look into a replica store where there is nothing else left."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from drill.cli.output import Output, spoken
from drill.errors import Damaged, Usage
from drill.host.files import LocalFiles
from drill.model.retention import KeptPoint
from drill.replication import manifest
from drill.replication.manifest import Manifest, SealedPoint
from drill.wiring.receiving import offline_store


@click.group("store", short_help="Look into a replica store.")
def command() -> None:
    """Look into a replica store."""


@command.command("inspect", short_help="List the recovery points of a store, from the store alone.")
@click.argument("folder", type=click.Path(path_type=Path))
@spoken
def inspect(out: Output, folder: Path) -> int:
    """List the recovery points in FOLDER, from what lies there alone; nothing is written.

    The exit code is that of *Damaged* when a file is missing.
    """
    if not folder.is_dir():
        raise Usage(f"{folder} is no folder", "a receiver keeps its store where --store says")
    files = LocalFiles(folder)
    items, lines, complete = [], [], True
    for item in files.list(""):
        found = manifest.peek(files, item)
        if found is None:
            continue
        absent = [name for name in found.value.files if files.size(f"{item}/{name}") is None]
        complete = complete and not absent
        items.append(_item(found.value, found.generation, absent))
        lines += [f"{item}  {_machine(found.value)}  generation {found.generation}"]
        lines += [f"  {_line(point)}" for point in found.value.points]
        lines += [f"  missing: {name}" for name in absent]
    out.result({"items": items}, *lines)
    return 0 if complete else Damaged.exit_code


@command.command("scrub", short_help="Prove every byte of a store.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--all", "every", is_flag=True, help="Everything, not only the disks whose turn it is.")
@spoken
def scrub(out: Output, folder: Path, every: bool) -> int:
    """Compare what lies in FOLDER with the digests that came from the source, and mark the points that are damaged.

    No agent may have the store meanwhile; one does this by itself, so that every byte is seen within seven days.  The
    exit code is that of *Damaged* when a point is.
    """
    if not folder.is_dir():
        raise Usage(f"{folder} is no folder", "a receiver keeps its store where --store says")
    store = offline_store(str(folder))
    items, lines, is_whole = [], [], True
    for item in store.items():
        while store.scrub(item, every=every) and not every:
            out.progress(f"{item}: proven")
        report = store.report(item)
        bad = [_damage(one) for one in report.points if one.damaged]
        is_whole = is_whole and not bad and not report.owed
        items.append(asdict(report))
        lines += [f"{item}  {len(report.points)} points, {len(bad)} damaged", *(f"  damaged {one}" for one in bad)]
        lines += [f"  must come from the source again: {', '.join(report.owed)}"] if report.owed else []
    out.result({"items": items}, *lines)
    return 0 if is_whole else Damaged.exit_code


def _damage(kept: KeptPoint) -> str:
    return f"{kept.point.epoch}/{kept.point.sequence}: {', '.join(kept.damaged)}"


def _item(found: Manifest, generation: int, missing: list[str]) -> dict[str, object]:
    return {
        "item": found.item,
        "machine": _machine(found),
        "generation": generation,
        "policy": asdict(found.policy),
        "owed": list(found.owed),
        "points": [asdict(point) for point in found.points],
        "missing": missing,
    }


def _machine(found: Manifest) -> str:
    return found.points[-1].machine.name if found.points else ""


def _line(found: SealedPoint) -> str:
    point = found.point
    instant = datetime.fromtimestamp(point.begun_us / 1e6, UTC)
    disks = ", ".join(f"{disk.target} {disk.file}" for disk in found.disks)
    marks = f"  locked: {found.lock.reason}" if found.lock else ""
    marks += f"  DAMAGED: {', '.join(found.damaged)}" if found.damaged else ""
    return f"{point.epoch}/{point.sequence}  {instant:%Y-%m-%d %H:%M:%S.%f} UTC  {disks}{marks}"
