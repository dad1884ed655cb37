"""`drill agent`: one role of the agent on this host."""

from __future__ import annotations

import socket

import click

from drill.errors import Usage


@click.command(short_help="Serve one role of the agent on this host.")
@click.option("--role", type=click.Choice(["source", "receiver"]), required=True, help="What this agent does.")
@click.option(
    "--listen", metavar="HOST:PORT", help="Where it listens; loopback otherwise (8081 source, 8084 receiver)."
)
@click.option("--identity", metavar="DIR", help="Where its certificate lies (drill vault issue).")
@click.option(
    "--pair-key-listen",
    metavar="HOST:PORT",
    help="Receiver: where it listens for peers that have a pair key; port 8083 of --listen otherwise.",
)
@click.option("--insecure-no-tls", is_flag=True, help="Plain TCP, on loopback only: to measure without TLS.")
@click.option("--state", metavar="DIR", help="Source: where its journals lie.")
@click.option("--store", metavar="DIR", help="Receiver: where the replica lies.")
@click.option("--runs", metavar="DIR", default="/var/lib/drill/runs", show_default=True, help="Receiver: test disks.")
@click.option(
    "--libvirt", "uri", metavar="URI", default="qemu:///system", show_default=True, help="Source: its libvirt."
)
@click.option(
    "--scratch",
    metavar="DIR",
    default="/var/lib/libvirt/drill",
    show_default=True,
    help="Source: where QEMU keeps what guests overwrite during a cycle.",
)
@click.option("--host", metavar="NAME", default=socket.gethostname, help="Source: the name this host goes by.")
def command(
    *,
    role: str,
    listen: str | None,
    pair_key_listen: str | None,
    identity: str | None,
    insecure_no_tls: bool,
    state: str | None,
    store: str | None,
    runs: str,
    uri: str,
    scratch: str,
    host: str,
) -> None:
    """Serve one role of the agent on this host until it is ended.

    The source role reads changes from libvirt and sends them; the receiver role keeps recovery points and has no
    access to libvirt.
    """
    from drill.wiring import agent

    if insecure_no_tls == (identity is not None):
        raise Usage("an agent needs a certificate: --identity DIR", "make one: drill vault init, drill vault issue")
    if role == "source":
        agent.run_source(listen or "127.0.0.1:8081", _needed(state, "--state"), uri, host, identity, scratch)
    else:
        address = listen or "127.0.0.1:8084"
        agent.run_receiver(address, _needed(store, "--store"), runs, identity, pair_key_listen or "")


def _needed(value: str | None, option: str) -> str:
    if value is None:
        raise Usage(f"this role needs {option} DIR")
    return value
