"""`drill export`: the applied estate as a file."""

from __future__ import annotations

from pathlib import Path

import click

from drill.cli._estate import state_folder
from drill.cli._vault import doors, vault_option
from drill.cli.output import Output, spoken
from drill.errors import Failed, Usage
from drill.estate.proposal import applied
from drill.estate.writing import write
from drill.wiring.desired import AppliedEstates


@click.command()
@click.argument("vault", metavar="[NAME]", required=False)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@vault_option
@spoken
def command(out: Output, vault: str | None, output: Path | None, place: str) -> None:
    """Write the applied estate as YAML; applying that changes nothing.

    NAME is that of the vault, where several estates were applied on a machine without one.

    Example: drill export > estate.yaml
    """
    estates = AppliedEstates(doors(place))
    name = vault or estates.name()
    if not name:
        raise Usage(problem=f"no estate was applied in {state_folder()}", cure="drill apply ESTATE.yaml")
    with estates.objects(name) as store:
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
