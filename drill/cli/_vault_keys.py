"""`drill vault key …` and `drill vault credential …`: secrets are written to files and read from files, never shown."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from drill.cli._vault import doors, moment, vault_option
from drill.cli.output import Output, spoken


@click.group(short_help="Make, list and revoke registration keys.")
def key() -> None:
    """Make, list and revoke the keys by which servers register."""


@key.command("make", short_help="Make a key file for a server.")
@click.argument("server")
@click.option("--to", "file", required=True, type=click.Path(path_type=Path), help="The new file.")
@vault_option
@spoken
def make(out: Output, server: str, file: Path, place: str) -> None:
    """Make a key file with which SERVER can register, once and within five days."""
    from drill.core.instants import instant
    from drill.vault import keyfile

    keyfile.check_absent(file)
    with doors(place).vault() as vault:
        made = vault.keys.make(server)
        keyfile.write(file, made)
    document = {"key": made.key, "server": server, "expires_us": made.expires_us, "file": str(file)}
    out.result(document, f"{file} registers {server} once, until {instant(made.expires_us)}; bring it there safely")


@key.command("list", short_help="Show all keys.")
@vault_option
@spoken
def listed(out: Output, place: str) -> None:
    """Show all registration keys that were made, without their secrets."""
    with doors(place).vault() as vault:
        found = vault.keys.all()
    lines = [
        f"{one.id}  {one.server}  until {moment(one.expires_us)}  used {moment(one.used_us)}"
        f"  revoked {moment(one.revoked_us)}"
        for one in found
    ]
    out.result({"keys": [asdict(one) for one in found]}, *(lines or ["no key was ever made"]))


@key.command("revoke", short_help="End a key that was not used.")
@click.argument("id", metavar="KEY")
@vault_option
@spoken
def revoke(out: Output, id: str, place: str) -> None:
    """End the registration key KEY before it is used."""
    with doors(place).vault() as vault:
        ended = vault.keys.revoke(id)
    out.result({"key": id, "server": ended.server}, f"the key {id} of {ended.server} is worth nothing any more")


@click.group(short_help="Keep secrets under names.")
def credential() -> None:
    """Keep secrets under names, in files of this machine that only their owner can read."""


@credential.command("set", short_help="Keep a secret.")
@click.argument("name")
@click.option(
    "--from", "file", type=click.Path(dir_okay=False, path_type=Path), help="A file; standard input otherwise."
)
@spoken
def put(out: Output, name: str, file: Path | None) -> None:
    """Keep a secret under NAME, read from a file or from standard input; processes use it from their next start on."""
    from drill.errors import Usage
    from drill.vault.credentials import SECRET_BYTES_MAX

    try:
        with file.open("rb") if file is not None else sys.stdin.buffer as source:
            secret = source.read(SECRET_BYTES_MAX + 2)
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}") from None
    doors("").credentials.set(name, secret)
    out.result({"credential": name}, f"the credential {name} is kept")


@credential.command("list", short_help="Show the names.")
@spoken
def names(out: Output) -> None:
    """Show the names of all credentials of this machine."""
    found = doors("").credentials.names()
    out.result({"credentials": list(found)}, *(found or ("there is none",)))


@credential.command("remove", short_help="Forget a secret.")
@click.argument("name")
@spoken
def remove(out: Output, name: str) -> None:
    """Forget the secret under NAME."""
    doors("").credentials.remove(name)
    out.result({"credential": name}, f"the credential {name} is gone")
