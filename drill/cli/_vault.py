"""What the verbs of the vault share: which vault, what is said of its objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from drill.cli._estate import state_folder
from drill.cli.output import Verb
from drill.core.instants import instant

if TYPE_CHECKING:
    from drill.model.vault import RegisteredCloud, RegisteredServer
    from drill.wiring.vaults import Doors


def vault_option(verb: Verb) -> Verb:
    """Decorate a verb that opens a vault."""
    option = click.option(
        "--vault",
        "place",
        envvar="DRILL_VAULT",
        default="",
        metavar="URL",
        help="sqlite:///FILE or postgresql://… (also DRILL_VAULT); else where this server registered.",
    )
    return option(verb)


def doors(place: str) -> Doors:
    """How this machine reaches the vault that was named."""
    from drill.wiring.vaults import Doors

    return Doors(state_folder(), place)


def moment(at_us: int | None) -> str:
    """An instant, or a dash."""
    return "-" if at_us is None else instant(at_us)


def server_lines(server: RegisteredServer) -> list[str]:
    """What is shown of a server."""
    through = f"  by proxy {server.proxy.address}:{server.proxy.port}" if server.proxy else ""
    lines = [f"{server.name}  site {server.site}  registered {instant(server.registered_us)}{through}"]
    if len(server.releases) > 1:
        lines.append(f"  MIXED VERSIONS: {', '.join(server.releases)}; its clouds wait for the end of the upgrade")
    for node in server.nodes:
        active = "  active" if node.is_active and server.is_cluster else ""
        lines.append(f"  {node.name}  {node.particulars.host_name}  drill {node.particulars.drill}{active}")
        lines += [f"    {one.place}: {one.component} {one.version}" for one in node.versions]
    return lines


def cloud_line(cloud: RegisteredCloud) -> str:
    """What is shown of a cloud."""
    hosts = ", ".join(sorted({host for group in cloud.facts.host_groups.values() for host in group})) or "no host"
    since = (
        f"synchronised {instant(cloud.synchronised_us)}" if cloud.synchronised_us is not None else "NOT SYNCHRONISED"
    )
    return f"{cloud.facts.name}  of {cloud.server}  {since}  {hosts}{'  encrypts' if cloud.encrypts else ''}"
