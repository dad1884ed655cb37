"""`drill estate`: what an estate file may hold."""

from __future__ import annotations

import click

from drill.cli.output import Output, spoken
from drill.estate import published


@click.group()
def command() -> None:
    """Tell about estate files."""


@command.command("schema")
@spoken
def schema(out: Output) -> None:
    """Print the JSON schema of estate files.

    An editor that knows JSON schemas completes and checks a file that begins with
    `# yaml-language-server: $schema=estate.schema.json`.

    Example: drill estate schema > estate.schema.json
    """
    out.result(published.json_schema(), *published.text().splitlines())
