"""The host's side of an isolated network: a guard on its bridge, what is plugged into it, what exists around it.

These functions run inside the host's network namespace (the agent lives there) and speak to the kernel through `nft`
and `ip`.

The guard is a table of the `netdev` family with hooks on the bridge device itself: *ingress* sees every frame that a
guest sends to the host, before ARP, IP or IPv6 look at it; *egress* sees every frame that the host, or what it
routes, would send to a guest.  Both drop by policy.  What is switched between two guests passes neither.

    guest A ── tap ──┐                 ┌── ingress: drop ──▶ host, and whatever it would route to
                     ├── bridge ports ─┤
    guest B ── tap ──┘                 └◀─ egress: drop ─── host, and whatever is routed to here

DHCP passes only between clients and the bridge's own address, where there is one, and so cannot be routed onwards.
Rejected: the `bridge` family, whose rules can tell one bridge from another only with CONFIG_NFT_BRIDGE_META, which
some kernels lack.  Egress hooks need Linux 5.16.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from drill.errors import Failed, Refused, Unknown, Unsupported, Usage

COMMAND_SECONDS = 10.0
"""`nft` and `ip` answer in milliseconds; a longer wait means that the kernel's netlink lock is stuck."""
GUARD_PREFIX = "drill_guard_"
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_FAMILY = "netdev"


def guard(bridge: str) -> None:
    """Cut a bridge off from its host, but for DHCP with an address of the bridge's own; again is harmless.

    To be called before the first guest is plugged in.  Usage when there is no such bridge; Refused when something
    other than a guest's tap is plugged into it; Unsupported when the kernel or the machine lacks the means.
    """
    table = _table(bridge)
    uplinks = foreign_members(bridge)
    if uplinks:
        raise Refused(reason=f"bridge {bridge} leads out through {', '.join(uplinks)}", cure="take them off the bridge")
    _disable_ipv6(bridge)
    _nft(f"guard bridge {bridge}", _ruleset(bridge, table, _addresses(bridge)))


def unguard(bridge: str) -> None:
    """Take the guard away; none there is fine, and so is a bridge that is gone."""
    table = _table(bridge)
    if f"{_FAMILY} {table}" in guards():
        _nft(f"unguard bridge {bridge}", f"delete table {_FAMILY} {table}\n")


def is_guarded(bridge: str) -> bool:
    """Whether both hooks are in place; before Linux 6.16 they go with the device, and a bridge made anew has none."""
    table = _table(bridge)
    if f"{_FAMILY} {table}" not in guards():
        return False
    listing = _run(["nft", "list", "table", _FAMILY, table], action=f"list the guard of {bridge}")
    hooks = set(re.findall(rf'hook (\w+) device "{re.escape(bridge)}" priority -500; policy drop;', listing))
    return hooks == {"ingress", "egress"} and bridge in interfaces()


def guards() -> tuple[str, ...]:
    """Tables of ours in this namespace, as `family name`, sorted."""
    tables = [entry["table"] for entry in _json(["nft", "-j", "list", "tables"])["nftables"] if "table" in entry]
    ours = [f"{table['family']} {table['name']}" for table in tables if table["name"].startswith(GUARD_PREFIX)]
    return tuple(sorted(ours))


def dropped_frames(bridge: str) -> tuple[int, int]:
    """How many frames the guard has dropped so far: (from guests to the host, from the host to guests)."""
    entries = _json(["nft", "-j", "list", "table", _FAMILY, _table(bridge)])["nftables"]
    rules = [entry["rule"] for entry in entries if "rule" in entry]
    counted = {rule["chain"]: rule["expr"][0]["counter"]["packets"] for rule in rules if "counter" in rule["expr"][0]}
    return counted["arriving"], counted["leaving"]


def bridge_members(bridge: str) -> tuple[str, ...]:
    """Interfaces enslaved to a bridge, sorted; empty when there is no such bridge."""
    return tuple(sorted(link["ifname"] for link in _members(bridge)))


def foreign_members(bridge: str) -> tuple[str, ...]:
    """Members that are no guest's tap, as `name (kind)`, sorted: what makes a bridge lead out."""
    kinds = ((link["ifname"], link.get("linkinfo", {}).get("info_kind", "device")) for link in _members(bridge))
    return tuple(sorted(f"{name} ({kind})" for name, kind in kinds if kind != "tun"))


def interfaces() -> tuple[str, ...]:
    """Names of all network interfaces in this namespace, sorted."""
    return tuple(sorted(link["ifname"] for link in _json(["ip", "-j", "link", "show"])))


def reach(address: str, port: int, timeout_seconds: float) -> bool:
    """Whether a TCP connection from this namespace to the address succeeds."""
    try:
        with socket.create_connection((address, port), timeout=timeout_seconds):
            return True
    except OSError:
        return False


def _table(bridge: str) -> str:
    """The name of a bridge's table; checking the name here keeps it from meaning anything else to `nft` and `ip`."""
    if not _BRIDGE.fullmatch(bridge):
        raise Usage(problem=f"{bridge!r} is not a bridge's name")
    return GUARD_PREFIX + bridge


def _ruleset(bridge: str, table: str, addresses: tuple[str, ...]) -> str:
    """One transaction that replaces the table; there is no moment without it."""
    arriving = leaving = ""
    if addresses:
        own = ", ".join(addresses)
        arriving = f"ip daddr {{ 255.255.255.255, {own} }} udp sport 68 udp dport 67 accept"
        leaving = f"ip saddr {{ {own} }} udp sport 67 udp dport 68 accept"
    return f"""
        table {_FAMILY} {table}
        delete table {_FAMILY} {table}
        table {_FAMILY} {table} {{
            comment "drill: nothing passes between {bridge} and its host"
            chain arriving {{
                type filter hook ingress device "{bridge}" priority -500
                policy drop
                {arriving}
                counter drop
            }}
            chain leaving {{
                type filter hook egress device "{bridge}" priority -500
                policy drop
                {leaving}
                counter drop
            }}
        }}
    """


def _members(bridge: str) -> list[dict[str, Any]]:
    _table(bridge)
    if not Path("/sys/class/net", bridge).exists():
        return []
    links: list[dict[str, Any]] = _json(["ip", "-d", "-j", "link", "show", "master", bridge])
    return links


def _addresses(bridge: str) -> tuple[str, ...]:
    """The bridge's own IPv4 addresses; Usage when there is no such bridge."""
    if not Path("/sys/class/net", bridge, "bridge").exists():
        raise Usage(problem=f"there is no bridge {bridge} on this host")
    links = _json(["ip", "-4", "-j", "address", "show", "dev", bridge])
    found = [str(ip_address(entry["local"])) for link in links for entry in link.get("addr_info", [])]
    return tuple(sorted(found))


def _disable_ipv6(bridge: str) -> None:
    """No link-local address on the bridge; without IPv6 in the kernel there is nothing to do."""
    switch = Path("/proc/sys/net/ipv6/conf", bridge, "disable_ipv6")
    if not switch.exists():
        return
    try:
        switch.write_text("1")
    except OSError as error:
        raise Failed(action=f"disable IPv6 on bridge {bridge}", cause=str(error)) from error


def _nft(action: str, ruleset: str) -> None:
    _run(["nft", "-f", "-"], action=action, stdin=ruleset)


def _json(argv: list[str]) -> Any:  # noqa: ANN401 - the tools' own shapes, taken apart above
    output = _run(argv, action=" ".join(argv))
    return json.loads(output) if output.strip() else []


def _run(argv: list[str], *, action: str, stdin: str = "") -> str:
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except FileNotFoundError:
        raise Unsupported(lacking=argv[0], detail=f"{action} needs it", cure=f"install {argv[0]}") from None
    except subprocess.TimeoutExpired:
        raise Unknown(action=action, cause=f"{argv[0]} did not end within {COMMAND_SECONDS:g} s") from None
    if done.returncode == 0:
        return done.stdout
    cause = done.stderr.strip()[:400] or f"{argv[0]} ended with {done.returncode}"
    if "Operation not supported" in cause:
        raise Unsupported(lacking="netfilter's egress hook", detail=cause, cure="run Linux 5.16 or newer on this host")
    raise Failed(action=action, cause=cause)
