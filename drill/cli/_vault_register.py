"""`drill vault register` and `unregister`: a server joins a vault by one command line, and leaves it (spec B4-B9)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drill.cli._estate import estate_option, read_estate, state_folder
from drill.cli._vault import doors, vault_option
from drill.cli.output import Output, Verb, spoken
from drill.errors import Refused, Usage

if TYPE_CHECKING:
    from drill.host.holders import Holder
    from drill.model.vault import Membership, VaultProxy
    from drill.ports import ServerFacts


def proxy_options(verb: Verb) -> Verb:
    """Decorate a verb that is told of a proxy."""
    address = click.option("--proxy-address", default="", help="The proxy through which the vault is reached.")
    port = click.option("--proxy-port", type=click.IntRange(1, 65535), help="Its port.")
    user = click.option("--proxy-user", default="", help="The user it asks for.")
    secret = click.option(
        "--proxy-credential", default="", help="The name of the credential with that user's password."
    )
    return address(port(user(secret(verb))))


@click.command(short_help="Register this server with its vault.")
@click.option("--key-file", required=True, type=click.Path(path_type=Path), help="The key file that the vault gave.")
@click.option("--name", required=True, help="The server's friendly name, as the estate has it.")
@estate_option
@vault_option
@click.option("--stop-service", is_flag=True, help="Consent to stopping a controller that runs on this machine.")
@click.option(
    "--synchronise/--no-synchronise", default=True, show_default=True, help="Let its clouds be chosen at once."
)
@click.option("--cluster-role", default="", help="The role of the server cluster to which this machine belongs.")
@click.option("--node", default="", help="This machine's name in the server cluster.")
@click.option("--active", is_flag=True, help="It is the active node, which registers first.")
@proxy_options
@click.option("--encryption-certificate", type=click.Path(path_type=Path), help="A .pfx file, for a region only.")
@spoken
def register(
    out: Output,
    key_file: Path,
    name: str,
    estate: Path,
    place: str,
    stop_service: bool,
    synchronise: bool,
    cluster_role: str,
    node: str,
    active: bool,
    proxy_address: str,
    proxy_port: int | None,
    proxy_user: str,
    proxy_credential: str,
    encryption_certificate: Path | None,
) -> None:
    """Register this server and its clouds with the vault that made the key file.

    Versions on this machine and on the hosts of its clouds are looked at first.  A controller that runs here is stopped
    only with consent: by --stop-service, or asked for on a terminal.
    """
    from drill.vault import keyfile
    from drill.wiring import registering
    from drill.wiring.controller import system_clock

    key = keyfile.read(key_file)
    registering.check_key(key, name, cluster_role, system_clock().now_us())
    asked = registering.Asked(
        cluster=_cluster(cluster_role, node, active=active),
        proxy=proxy_of(proxy_address, proxy_port, proxy_user, proxy_credential),
        certificate=encryption_certificate,
        synchronise=synchronise,
    )
    stopping = _consent(out, stop_service=stop_service)
    facts = _facts(estate, name)
    notes = registering.register(doors(place or key.location), key, facts, asked, stopping, out.progress)
    document = {"server": name, "clouds": [one.name for one in facts.clouds()], "notes": list(notes)}
    out.result(document, *notes, f"{name} is registered with the vault {key.vault}; the key file can be deleted")


@click.command(short_help="Take a server out of its vault.")
@click.argument("server")
@vault_option
@spoken
def unregister(out: Output, server: str, place: str) -> None:
    """Take SERVER and its clouds out of the vault; refused while one of them is in a pair."""
    from drill.wiring import registering

    clouds = registering.unregister(doors(place), server)
    out.result(
        {"server": server, "clouds": list(clouds)}, f"{server} is gone, and with it: {', '.join(clouds) or 'no cloud'}"
    )


def _cluster(role: str, node: str, *, active: bool) -> Membership | None:
    from drill.model.vault import Membership

    if bool(role) != bool(node) or (active and not role):
        raise Usage("a node of a server cluster needs --cluster-role and --node", "give both, or neither")
    return Membership(role=role, node=node, is_active=active) if role else None


def proxy_of(address: str, port: int | None, user: str, credential: str) -> VaultProxy | None:
    """The proxy that options describe, None where they describe none; Usage where they do so by half."""
    from drill.model.vault import VaultProxy

    if bool(address) != (port is not None) or bool(user) != bool(credential) or (user and not address):
        cure = "--proxy-address and --proxy-port, and where it asks for one --proxy-user and --proxy-credential"
        raise Usage("a proxy is not described wholly", cure)
    return VaultProxy(address=address, port=port, user=user, credential=credential) if port is not None else None


def _consent(out: Output, *, stop_service: bool) -> list[Holder]:
    """Controllers that run here and may be stopped; Refused without consent (spec B9)."""
    from drill.wiring import registering

    running = registering.running(state_folder())
    if not running or stop_service:
        return running
    named = ", ".join(f"process {one.pid}" for one in running)
    if sys.stdin.isatty() and not out.json and click.confirm(f"A controller runs here ({named}). Stop it?", err=True):
        return running
    raise Refused(f"a controller runs on this machine ({named})", "B9", "consent to stopping it with --stop-service")


def _facts(estate: Path, name: str) -> ServerFacts:
    from drill.wiring.controller import RemoteHosts, identity_folder
    from drill.wiring.vaults import EstateServer

    known = read_estate(estate)
    return EstateServer.named(known, name, RemoteHosts(known), identity_folder())
