"""`drill report`: draw the report of a run again, from its record alone."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli.output import Output, spoken
from drill.reporting import html, junit, record
from drill.reporting.publish import SUMMARY
from drill.reporting.summary import lines, summarize

_FORMATS = {"html": html.FILE, "junit": junit.FILE, "json": SUMMARY}


@click.command("report", short_help="Draw the report of a run again.")
@click.argument("run")
@click.option("--format", "kind", type=click.Choice(sorted(_FORMATS)), default="html", help="What to draw.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.")
@spoken
def command(out: Output, run: str, kind: str, output: Path | None) -> None:
    """Draw the report of RUN again: a run's id, its folder, or its run.jsonl.

    Needs no lab and no database; the report is written beside the record unless --output says otherwise. A record
    that was changed is refused, one that was cut short is drawn and its verdict is unknown.
    """
    place = record.find(run)
    found = record.load(place)
    if found.torn_bytes:
        out.progress(f"the record was cut short: its last line is torn after {found.torn_bytes} bytes")
    target = output or place.with_name(_FORMATS[kind])
    summary = summarize(found.facts, str(target))
    if kind == "html":
        html.write(target, html.render(found.facts, found.last_hash, found.torn_bytes))
    elif kind == "junit":
        html.write(target, junit.render(found.facts, found.last_hash))
    else:
        html.write(target, summary.model_dump_json(indent=2) + "\n")
    out.result(summary.document(), *lines(summary))
