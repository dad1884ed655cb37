"""What a server remembers of its vault: where it is, as whom it registered, through which proxy it is reached.

One file, `server.json` in the state folder, for its owner only; no secret stands in it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from drill.errors import BadInput, Refused
from drill.identity.bundle import write_private
from drill.model.vault import VaultProxy
from drill.replication import plainjson

FILE: Final = "server.json"
FILE_BYTES_MAX: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """`location` is the vault's URL, `vault_id` its id, so that another vault in its place is noticed."""

    location: str
    vault_id: str
    server: str
    node: str
    proxy: VaultProxy | None = None


def read(state: Path) -> ServerState | None:
    """What stands in a state folder; None where no server registered."""
    file = state / FILE
    try:
        if file.stat().st_mode & 0o077:
            raise Refused(f"{file} can be read by others", cure=f"chmod 600 {file}")
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    if len(content) > FILE_BYTES_MAX:
        raise BadInput(str(file), f"longer than {FILE_BYTES_MAX} bytes")
    return plainjson.decode(ServerState, content, where=str(file))


def write(state: Path, server: ServerState) -> None:
    """Remember it."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(state / FILE, json.dumps(asdict(server), indent=1).encode() + b"\n")


def forget(state: Path) -> None:
    """Remember nothing; that nothing stands there is fine."""
    (state / FILE).unlink(missing_ok=True)
