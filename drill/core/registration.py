"""Who may register with a vault, and what its clouds may be used for: rules A1, A2, B2, B6, B8, B9, B10, D2, D4.

Facts in, nothing or Refused out; the vault asks them inside the transaction that would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from drill.core.instants import instant
from drill.errors import Refused, Usage
from drill.model.vault import (
    CloudFacts,
    CloudPair,
    Goal,
    Membership,
    RegisteredCloud,
    RegisteredServer,
    RegistrationKey,
)

KEY_US: Final = 5 * 86_400_000_000
"""How long a registration key lives (spec B2)."""
SKEW_US: Final = 10 * 60_000_000
"""By how much the clocks of two controllers over one vault may differ."""
ATTEMPTS_MAX: Final = 5
ATTEMPTS_ALL_MAX: Final = 50
ATTEMPTS_US: Final = 15 * 60_000_000
"""So many wrong keys within that time, for one server name and for all; then keys are not looked at any more."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ANOTHER_KEY: Final = "make another on the vault: drill vault key make {server} --to FILE"


def check_name(name: str, what: str) -> None:
    """Usage unless it is a name as everywhere in an estate."""
    if not _NAME.fullmatch(name):
        raise Usage(f"{name[:80]!r} is no name for a {what}", "1 to 63 letters, digits, dots, hyphens, underscores")


def check_attempts(server: str, failed: Iterable[tuple[str, int]], now_us: int) -> None:
    """Refused when too many wrong keys came lately; `failed` are pairs of server name and time."""
    recent = [name for name, at_us in failed if abs(now_us - at_us) < ATTEMPTS_US]
    if recent.count(server) >= ATTEMPTS_MAX or len(recent) >= ATTEMPTS_ALL_MAX:
        minutes = ATTEMPTS_US // 60_000_000
        raise Refused(f"too many wrong registration keys within {minutes} minutes", "B2", f"wait {minutes} minutes")


def check_key(key: RegistrationKey, now_us: int) -> None:
    """Refused unless the key may still be used; its age may be 5 days and no more (spec B2)."""
    cure = ANOTHER_KEY.format(server=key.server)
    if key.revoked_us is not None:
        raise Refused(f"the registration key was revoked on {instant(key.revoked_us)}", "B2", cure)
    if key.used_us is not None:
        raise Refused(f"the registration key was used on {instant(key.used_us)}; it serves once", "B2", cure)
    if now_us > key.expires_us:
        raise Refused(f"the registration key expired on {instant(key.expires_us)}", "B2", cure)
    if now_us < key.made_us - SKEW_US:
        made = instant(key.made_us)
        raise Refused(f"the registration key is of {made}, which is still to come", "B2", "set this machine's clock")


def check_new(server: str, cluster: Membership | None, release: str, known: RegisteredServer | None) -> None:
    """Whether a server, or a node of a server cluster, may join those that are known (spec B6)."""
    if cluster is None:
        if known is not None:
            raise Refused(f"{server} is registered already", "B9", f"drill vault unregister {server}")
        return
    if cluster.role != server:
        raise Refused(
            f"the friendly name of a server cluster is its role's, {cluster.role}, not {server}",
            "B6",
            f"register it as {cluster.role}",
        )
    if known is None:
        if not cluster.is_active:
            raise Refused(f"{cluster.node} is not the active node of {server}", "B6", "register the active node first")
        return
    _check_next_node(cluster, release, known)


def _check_next_node(cluster: Membership, release: str, known: RegisteredServer) -> None:
    if not known.is_cluster:
        raise Refused(
            f"{known.name} is registered and is no server cluster", "B6", f"drill vault unregister {known.name}"
        )
    if any(node.name == cluster.node for node in known.nodes):
        cure = f"drill vault unregister {known.name}, then register its nodes anew"
        raise Refused(f"the node {cluster.node} of {known.name} is registered already", "B6", cure)
    if known.releases != (release,):
        raise Refused(
            f"the nodes of {known.name} run drill {', '.join(known.releases)}, {cluster.node} runs {release}",
            "B6",
            "bring all nodes to one version first",
        )


def check_clouds(goal: Goal, clouds: Sequence[CloudFacts], others: int) -> tuple[str, ...]:
    """Sentences of advice on a server's clouds; Refused where it has too few (spec A1, A2).

    `others` is how many other servers the vault has.
    """
    for cloud in clouds:
        if not cloud.profile:
            raise Refused(f"cloud {cloud.name} has no capability profile", "A4", "give it the profile kvm")
        if not cloud.host_groups:
            raise Refused(f"cloud {cloud.name} has no host group", "A3", "put its hosts into a host group")
    if goal is Goal.ONE_SERVER and others == 0:
        if len(clouds) < 2:
            few = f"a lone server needs two clouds, this one has {len(clouds)}"
            raise Refused(few, "A2", "add a cloud, or make the vault for two servers")
        return advice(goal, 1)
    if not clouds:
        raise Refused("a server needs at least one cloud", "A2", "add a cloud for its hosts")
    return ()


def advice(goal: Goal, servers: int) -> tuple[str, ...]:
    """What the operator should know of a vault with so many servers (spec A1)."""
    if goal is Goal.REGION or servers != 1:
        return ()
    return ("two servers, one for each site, are advised: this one is lost with its site",)


def check_server_count(goal: Goal, others: int) -> None:
    """Refused when the goal leaves no place for another server (spec A1, B3)."""
    most = 2 if goal is Goal.SECOND_SERVER else 1
    if others >= most:
        word = "two servers" if most == 2 else "one server"
        raise Refused(f"this vault is for {word}, and has {others}", "A1", "unregister one, or make another vault")


def check_certificate_file(goal: Goal, name: str) -> None:
    """The file of an encryption certificate: only for a region, and a `.pfx` (spec B9)."""
    if goal is not Goal.REGION:
        raise Refused("an encryption certificate is for a region only", "B9", "leave it out")
    if not name.endswith(".pfx"):
        raise Refused(f"{name[:80]!r} does not end in .pfx", "B9", "export the certificate as a .pfx file")


def encryption(goal: Goal, cloud: RegisteredCloud, certificate: str, *, wanted: bool) -> tuple[bool, str]:
    """What becomes of a cloud's encryption setting, and a note; `certificate` is its server's, or empty.

    It counts only towards a region, and is ignored with a note for a second site (spec B10).
    """
    if goal is not Goal.REGION:
        return False, "encryption counts only for a region; for a second site it is ignored"
    if wanted and not certificate:
        raise Refused(
            f"{cloud.server} registered without an encryption certificate",
            "B10",
            "unregister it, and register it with --encryption-certificate",
        )
    return wanted, ""


def check_failover_certificate(cloud: RegisteredCloud, certificate: str, named: str) -> None:
    """A failover from an encrypted store must name the certificate it was encrypted with (spec B10, L7).

    `certificate` is the one that the cloud's server registered with, `named` the operator's; both as SHA-256 in
    hexadecimal, `named` empty where none was given.
    """
    if not cloud.encrypts:
        return
    if not named:
        raise Refused(f"the store of {cloud.facts.name} is encrypted", "B10", "name its certificate file")
    if named != certificate:
        reason = f"the store of {cloud.facts.name} was encrypted with another certificate"
        raise Refused(reason, "B10", "name the file that its server registered with")


def check_pair(
    pair: CloudPair,
    clouds: Mapping[str, RegisteredCloud],
    servers: Mapping[str, RegisteredServer],
    pairs: Mapping[str, CloudPair],
) -> None:
    """Whether a pair may stand beside those that are known, by name (spec B6, B8, D1, D2, D4)."""
    if bool(pair.target) == bool(pair.region) or bool(pair.region) != bool(pair.store):
        cure = "name one of them, and not both"
        raise Refused(f"pair {pair.name} needs a target cloud, or a region and a store", "D1", cure)
    if pair.source == pair.target:
        raise Refused(f"pair {pair.name}: cloud {pair.source} cannot replicate to itself", "D2", "name another cloud")
    for name in filter(None, (pair.source, pair.target)):
        _check_choosable(name, clouds, servers)
        _check_free(pair, name, pairs.values())
    old = pairs.get(pair.name)
    if old is not None and (old.source, old.target, old.region) != (pair.source, pair.target, pair.region):
        raise Refused(
            f"pair {pair.name} leads from {old.source} to {old.target or old.region}",
            "D4",
            "to aim elsewhere remove the pair, then make it anew",
        )


def _check_choosable(name: str, clouds: Mapping[str, RegisteredCloud], servers: Mapping[str, RegisteredServer]) -> None:
    cloud = clouds.get(name)
    if cloud is None:
        raise Refused(f"no registered server has the cloud {name}", "B8", "drill vault register, on its server")
    if cloud.synchronised_us is None:
        raise Refused(f"cloud {name} is not synchronised", "B8", f"drill vault clouds sync {name}")
    server = servers[cloud.server]
    if len(server.releases) > 1:
        found = ", ".join(server.releases)
        raise Refused(f"the nodes of {server.name} run drill {found}", "B6", "bring all nodes to one version")


def _check_free(pair: CloudPair, name: str, others: Iterable[CloudPair]) -> None:
    for other in others:
        if other.name != pair.name and name in {other.source, other.target}:
            raise Refused(f"cloud {name} is in the pair {other.name} already", "D2", f"remove the pair {other.name}")
