"""`drill vault`: the vault of an estate, and the private authority with the certificates of controllers and agents.

Keys are written to files that only their owner can read, and never shown.  The verbs of the vault itself are in the
files `_vault_*.py` beside this one.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drill.cli import _vault_keys, _vault_register, _vault_state
from drill.cli.output import Output, Verb, spoken
from drill.errors import BadInput, Usage
from drill.model import identity

if TYPE_CHECKING:
    from drill.identity.authority import Authority, Issued

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(short_help="The vault, its servers, certificates.")
def command() -> None:
    """The vault of an estate and its servers, and the certificates by which controllers and agents know each other."""


for _verb in (
    _vault_state.create,
    _vault_state.show,
    _vault_state.upgrade,
    _vault_keys.key,
    _vault_register.register,
    _vault_register.unregister,
    _vault_state.refresh,
    _vault_state.proxy,
    _vault_state.servers,
    _vault_state.clouds,
    _vault_state.probes,
    _vault_state.audit,
    _vault_state.privacy,
    _vault_state.versions,
    _vault_keys.credential,
):
    command.add_command(_verb)


def _days(verb: Verb) -> Verb:
    option = click.option(
        "--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="How long it is good."
    )
    return option(verb)


@command.command(short_help="Make a private authority.")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--name", default="drill", show_default=True, help="What the authority is called in its certificate.")
@spoken
def init(out: Output, folder: Path, name: str) -> None:
    """Make a private authority in DIR.  Keep DIR where no agent runs: whoever has it can be anybody."""
    from drill.identity.authority import Authority, utc_now

    Authority.make(folder, name, utc_now)
    out.result({"authority": str(folder)}, f"{folder} holds an authority; keep it safe, and back it up")


@command.command(short_help="Issue a certificate.")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--to", "holder", required=True, metavar="ROLE/NAME", help="Such as source/ny1, or controller/ops.")
@click.option("--into", required=True, type=_FOLDER, help="The holder's folder.")
@_days
@spoken
def issue(out: Output, folder: Path, holder: str, into: Path, days: int) -> None:
    """Issue a certificate of the authority in DIR; a host's name is the one that the estate gives it."""
    made = _authority(folder).issue(_holder(holder), into, timedelta(days=days))
    out.result(_told(made), f"{into}: {made.identity}, good until {made.valid_until}")


@command.command(short_help="Issue certificates anew.")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.argument("holders", metavar="INTO...", nargs=-1, required=True, type=_FOLDER)
@_days
@spoken
def renew(out: Output, folder: Path, holders: tuple[Path, ...], days: int) -> None:
    """Put a new key and certificate into holders' folders.

    Processes that run take them up by themselves, streams go on; the old certificate stays good until it ends.
    """
    authority = _authority(folder)
    made = [authority.renew(into, timedelta(days=days)) for into in holders]
    lines = [f"{into}: {one.identity}, good until {one.valid_until}" for into, one in zip(holders, made, strict=True)]
    out.result({"issued": [_told(one) for one in made]}, *lines)


@command.command(short_help="Put certificates on the revocation list.")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--of", "holder", metavar="ROLE/NAME", help="All certificates of a holder.")
@click.option("--serial", metavar="HEX", multiple=True, help="One certificate; may be repeated.")
@click.option("--publish", type=_FOLDER, multiple=True, help="A holder's folder that gets the list; may be repeated.")
@spoken
def revoke(out: Output, folder: Path, holder: str | None, serial: tuple[str, ...], publish: tuple[Path, ...]) -> None:
    """Put certificates on the revocation list, and give holders the list.

    A peer that has the new list refuses them from then on and ends their connections.  Give it to every agent.
    """
    authority = _authority(folder)
    serials = {_serial(text) for text in serial}
    if holder is not None:
        mine = _holder(holder)
        found = {one.serial for one in authority.issued() if one.identity == mine}
        if not found:
            raise Usage(f"nothing was issued to {mine}", f"see: drill vault list {folder}")
        serials |= found
    number = authority.revoke(frozenset(serials))
    for into in publish:
        authority.publish(into)
    what = {"list": number, "revoked": [f"{one:x}" for one in sorted(serials)], "published": [str(p) for p in publish]}
    out.result(what, f"list {number}: {len(serials)} revoked now; given to {len(publish)} holders")


@command.command("pair-key", short_help="Make a key that a source and a receiver share.")
@click.argument("source", metavar="SOURCE", type=_FOLDER)
@click.argument("receiver", metavar="RECEIVER", type=_FOLDER)
@click.option("--alone", is_flag=True, help="Older keys of the pair end at once; one stays good otherwise.")
@_days
@spoken
def pair_key(out: Output, source: Path, receiver: Path, alone: bool, days: int) -> None:
    """Put a new pair key into the folders of a source and a receiver, for a policy whose authentication is pair-key.

    The key is never shown.  Agents that run take it up by themselves; the key that the pair had stays good beside it.
    """
    from drill.identity import pair_keys
    from drill.identity.authority import utc_now

    made = pair_keys.make(source, receiver, timedelta(days=days), utc_now, alone=alone)
    until = made.valid_until.isoformat(timespec="seconds")
    told = {"id": made.id.hex(), "source": str(made.source), "receiver": str(made.receiver), "valid_until": until}
    told["fingerprint"] = made.fingerprint.hex()
    line = f"{made.source} and {made.receiver} share key {made.id.hex()[:8]}, good until {until}"
    out.result(
        told, line, f"bring {source}/{pair_keys.PAIRS} and {receiver}/{pair_keys.PAIRS}, {pair_keys.PAIRING} to them"
    )


@command.command("list", short_help="Show what was issued.")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@spoken
def show(out: Output, folder: Path) -> None:
    """Show every certificate that the authority in DIR issued."""
    authority = _authority(folder)
    revoked = authority.revoked()
    rows = [_told(one) | {"revoked": one.serial in revoked} for one in authority.issued()]
    lines = [
        f"{one['identity']}  until {one['valid_until']}  {one['serial']}{'  REVOKED' if one['revoked'] else ''}"
        for one in rows
    ]
    out.result({"issued": rows}, *(lines or ["nothing was issued"]))


def _authority(folder: Path) -> Authority:
    from drill.identity.authority import Authority, utc_now

    return Authority(folder, utc_now)


def _holder(text: str) -> identity.Identity:
    try:
        return identity.identity(text)
    except BadInput as error:
        raise Usage(str(error), "for example source/ny1") from error


def _serial(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise Usage(f"{text!r} is no serial", "drill vault list shows them") from error


def _told(one: Issued) -> dict[str, object]:
    return {"identity": str(one.identity), "serial": f"{one.serial:x}", "valid_until": one.valid_until}
