"""`drill vault create`, `show`, `upgrade`, `servers`, `clouds …`, `audit` and others: what a vault holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._estate import estate_option, read_estate, state_folder
from drill.cli._vault import cloud_line, doors, moment, server_lines, vault_option
from drill.cli._vault_register import proxy_of, proxy_options
from drill.cli.output import Output, spoken
from drill.errors import Usage

GOALS = ("second-server", "one-server", "region")


@click.command(short_help="Make a vault.")
@click.argument("name")
@click.option("--region", required=True, help="The vault's region.")
@click.option(
    "--goal", type=click.Choice(GOALS), default=GOALS[0], show_default=True, help="What is protected to where."
)
@vault_option
@spoken
def create(out: Output, name: str, region: str, goal: str, place: str) -> None:
    """Make the vault NAME: to a site with a second server, between two clouds of one server, or to a region."""
    from drill.model.vault import Goal
    from drill.vault.vault import Vault
    from drill.wiring.vaults import actor

    way = doors(place)
    with (
        way.database() as database,
        Vault.make(database, way.now(), actor(), name=name, region=region, goal=Goal(goal)) as vault,
    ):
        found = vault.facts()
    shown = way.location().shown
    out.result(asdict(found) | {"location": shown}, f"the vault {name} is {found.state}, in {shown}")


@click.command(short_help="Show the vault.")
@vault_option
@spoken
def show(out: Output, place: str) -> None:
    """Show the vault's name, region, goal and state, and what should be known of it."""
    way = doors(place)
    with way.vault() as vault:
        found, advice, pairs = vault.facts(), vault.advice(), vault.desired.pairs()
    shown = way.location().shown
    lines = [
        f"{found.name}  region {found.region}  {found.state} since {moment(found.made_us)}  in {shown}",
        f"protects to: {found.goal.value}",
        *(f"pair {one.name}: {one.source} to {one.target or f'{one.region}, store {one.store}'}" for one in pairs),
        *advice,
    ]
    document = asdict(found) | {"location": shown, "pairs": [asdict(one) for one in pairs], "advice": list(advice)}
    out.result(document, *lines)


@click.command(short_help="Bring a vault to this version.")
@vault_option
@spoken
def upgrade(out: Output, place: str) -> None:
    """Bring the vault's schema to this version's; a file is copied first.  No other controller may be at work on it."""
    from drill.vault import migrate

    with doors(place).database() as database:
        before = migrate.forward(database)
    said = (
        f"the schema was {before}"
        if before == migrate.NEWEST
        else f"from schema {before or 'none'} to {migrate.NEWEST}"
    )
    out.result({"before": before, "now": migrate.NEWEST}, said)


@click.command(short_help="Show the servers.")
@vault_option
@spoken
def servers(out: Output, place: str) -> None:
    """Show the registered servers with their nodes and the versions that were seen."""
    with doors(place).vault() as vault:
        found = vault.servers.all()
    lines = [line for one in found for line in server_lines(one)]
    out.result({"servers": [asdict(one) for one in found]}, *(lines or ["no server is registered"]))


@click.command(short_help="Tell the vault of this server anew.")
@estate_option
@vault_option
@spoken
def refresh(out: Output, estate: Path, place: str) -> None:
    """Tell the vault anew of this server's machine, versions and clouds, as after an upgrade of a node."""
    from drill.vault import membership
    from drill.wiring.controller import RemoteHosts, identity_folder
    from drill.wiring.vaults import EstateServer

    me, known = membership.read(state_folder()), read_estate(estate)
    if me is None:
        raise Usage("this machine is no registered server", "drill vault register")
    facts = EstateServer.named(known, me.server, RemoteHosts(known), identity_folder())
    seen = facts.versions()
    with doors(place).vault() as vault:
        server = vault.servers.refresh(me.server, me.node, facts.particulars(), seen)
        vault.clouds.told(me.server, facts.clouds())
    out.result(asdict(server), *server_lines(server))


@click.command(short_help="Change the way to the vault.")
@proxy_options
@click.option("--direct", is_flag=True, help="Without a proxy.")
@spoken
def proxy(
    out: Output, proxy_address: str, proxy_port: int | None, proxy_user: str, proxy_credential: str, direct: bool
) -> None:
    """Reach the vault through a proxy, or directly, from the next start of every process on.

    The proxy is tried first: one that does not lead to the vault is refused.
    """
    from dataclasses import replace

    from drill.vault import membership

    chosen = proxy_of(proxy_address, proxy_port, proxy_user, proxy_credential)
    if (chosen is None) != direct:
        raise Usage("neither a proxy nor --direct is given, or both", "give one of them")
    me = membership.read(state_folder())
    if me is None:
        raise Usage("this machine is no registered server", "drill vault register --proxy-address …")
    way = doors(me.location)
    if chosen is not None:
        way.try_proxy(chosen)
    with way.vault(proxy=chosen) as vault:
        vault.servers.connect(me.server, chosen)
    membership.write(state_folder(), replace(me, proxy=chosen))
    said = f"through {chosen.address}:{chosen.port}" if chosen else "directly"
    out.result(
        {"server": me.server, "proxy": asdict(chosen) if chosen else None}, f"the vault is reached {said} from now on"
    )


@click.group(short_help="Show and synchronise clouds.")
def clouds() -> None:
    """Show the clouds of registered servers, synchronise them, set their encryption."""


@clouds.command("list", short_help="Show the clouds.")
@vault_option
@spoken
def clouds_list(out: Output, place: str) -> None:
    """Show the clouds of registered servers and whether they can be chosen."""
    with doors(place).vault() as vault:
        found = vault.clouds.all()
    out.result(
        {"clouds": [asdict(one) for one in found]}, *([cloud_line(one) for one in found] or ["there is no cloud"])
    )


@clouds.command("sync", short_help="Let clouds be chosen.")
@click.argument("names", metavar="[CLOUD]...", nargs=-1)
@vault_option
@spoken
def clouds_sync(out: Output, names: tuple[str, ...], place: str) -> None:
    """Let clouds be chosen as source or target: those named, or all."""
    with doors(place).vault() as vault:
        chosen = vault.clouds.synchronise(names)
    out.result({"clouds": list(chosen)}, *(f"{name}: synchronised" for name in chosen))


@clouds.command("encrypt", short_help="Set a cloud's encryption.")
@click.argument("name", metavar="CLOUD")
@click.option("--on/--off", "wanted", default=True, show_default=True, help="Whether stored data is encrypted.")
@vault_option
@spoken
def clouds_encrypt(out: Output, name: str, wanted: bool, place: str) -> None:
    """Set whether what CLOUD stores in a region is encrypted at rest; for a second site it is ignored."""
    with doors(place).vault() as vault:
        note = vault.clouds.encrypt(name, wanted=wanted)
        encrypts = next(one.encrypts for one in vault.clouds.all() if one.facts.name == name)
    document = {"cloud": name, "encrypts": encrypts, "note": note}
    out.result(document, note or f"{name}: stored data is {'encrypted' if encrypts else 'not encrypted'}")


@click.command(short_help="Show and prove the audit log.")
@click.option("--noted", default="", metavar="N:HASH", help="An entry that was noted: it must still be there.")
@vault_option
@spoken
def audit(out: Output, noted: str, place: str) -> None:
    """Show the audit log after its chain was proven from the first entry to the last.

    The last line is the newest entry's number and hash: noted elsewhere, they show later whether anything was cut off.
    """
    number, colon, digest = noted.partition(":")
    if noted and not (colon and number.isdecimal() and len(digest) == 64):
        raise Usage(f"{noted[:80]!r} is no number and hash", "give what the last line of drill vault audit said")
    with doors(place).vault() as vault:
        head = vault.verify_audit((int(number), digest) if noted else None)
        with vault.audit() as entries:
            found = [asdict(entry) | {"n": n} for n, _, entry in entries]
    lines = [
        f"{one['n']}  {moment(one['at_us'])}  {one['actor']}  {one['action']}  {one['subject']}  {one['outcome']}"
        f"  {one['detail']}".rstrip()
        for one in found
    ]
    out.result({"entries": found, "head": f"{head[0]}:{head[1]}"}, *lines, f"{head[0]}:{head[1]}")


@click.command(short_help="Show what was reached.")
@vault_option
@spoken
def probes(out: Output, place: str) -> None:
    """Show the newest look at every connection that is needed: by which machine, at what, with what result."""
    with doors(place).vault() as vault:
        found = vault.probes.all()
    lines = [
        f"{one.looker} to {one.at}, {one.purpose}: {'reached' if one.reached else f'NOT REACHED, {one.cause}'}"
        f"  {moment(one.at_us)}"
        for one in found
    ]
    out.result({"probes": [asdict(one) for one in found]}, *(lines or ["nobody has looked yet"]))


@click.command(short_help="Show what a vault keeps, and why.")
@spoken
def privacy(out: Output) -> None:
    """Show what a vault keeps, why, where, and what can be left out, as its schema says."""
    from drill.vault import privacy as kept

    rows = kept.table()
    lines = [f"{one.where}: {one.what}; {one.why}; can it be left out: {one.out}" for one in rows]
    out.result({"kept": [asdict(one) for one in rows], "never": kept.NEVER}, *lines, kept.NEVER)


@click.command(short_help="Show the tested versions.")
@spoken
def versions(out: Output) -> None:
    """Show the versions of libvirt, QEMU, guest agent and kernel that drill was tested with."""
    from drill.core.versions import MATRIX

    lines = [f"{one.component}: {one.oldest} to {one.newest}; older lacks {one.needed_for}" for one in MATRIX]
    out.result({"versions": [asdict(one) for one in MATRIX]}, *lines)
