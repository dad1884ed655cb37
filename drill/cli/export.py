"""`drill export`: the applied estate as a file."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli._estate import state_folder
from drill.cli.output import Output, spoken
from drill.errors import Failed, Usage
from drill.estate.proposal import applied
from drill.estate.writing import write
from drill.wiring.desired import applied_vault, desired_objects


@click.command()
@click.option("--vault", help="Whose estate, where several were applied.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@spoken
def command(out: Output, vault: str | None, output: Path | None) -> None:
    """Write the applied estate as YAML; applying that changes nothing.

    Example: drill export > estate.yaml
    """
    name = vault or applied_vault(state_folder())
    if not name:
        raise Usage(problem=f"no estate was applied in {state_folder()}", cure="drill apply ESTATE.yaml")
    with desired_objects(state_folder(), name) as store:
        state = store.read()
    estate = applied(state).section.model_dump(mode="json", exclude_defaults=True)
    text = write(estate)
    if output is None:
        out.result({"vault": name, "generation": state.generation, "estate": estate}, *text.splitlines())
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failed(f"writing {output}", str(error.strerror)) from error
    result = {"vault": name, "generation": state.generation, "file": str(output)}
    out.result(result, f"{output}: vault {name}, generation {state.generation}")
