"""What a vault holds, as values: servers and their clouds, registration keys, pairs, desired objects, the audit log.

Times are microseconds since the epoch, UTC, of the clock of the process that wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Goal(StrEnum):
    """What is to be protected to where (spec B3)."""

    SECOND_SERVER = "second-server"
    ONE_SERVER = "one-server"
    REGION = "region"


class Kind(StrEnum):
    """What kinds of objects an estate is made of; a desired object is known by its kind and name."""

    VAULT = "vault"
    SITE = "site"
    SERVER = "server"
    CLOUD = "cloud"
    HOST_GROUP = "host-group"
    HOST = "host"
    LOGICAL_NETWORK = "logical-network"
    VM_NETWORK = "vm-network"
    STORAGE_CLASSIFICATION = "storage-classification"
    STORAGE_LOCATION = "storage-location"
    SIZE = "size"
    REGION = "region"
    POLICY = "policy"
    PAIR = "pair"
    NETWORK_MAPPING = "network-mapping"
    STORAGE_MAPPING = "storage-mapping"
    ITEM = "item"
    GROUP = "group"
    PLAN = "plan"
    DNS_ZONE = "dns-zone"
    CREDENTIAL = "credential"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultFacts:
    """A vault: its name and region (spec B1).  `generation` counts the writings of desired objects."""

    id: str
    name: str
    region: str
    goal: Goal
    state: str
    made_us: int
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationKey:
    """What the vault knows of a registration key (spec B2); the secret itself is not among it."""

    id: str
    server: str
    made_us: int
    expires_us: int
    used_us: int | None = None
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenVersion:
    """A version that was found: `component` is one of drill.core.versions, `place` the machine or guest it runs on."""

    component: str
    place: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Particulars:
    """What a server, or a node of a server cluster, tells of itself.  `certificate` is PEM, or empty."""

    host_name: str
    drill: str
    certificate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFacts:
    """A cloud as its server tells of it: the host groups with their hosts."""

    name: str
    profile: str
    host_groups: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultProxy:
    """Where connections to the vault go through (spec B7); `credential` names the password of `user`, both or none."""

    address: str
    port: int
    user: str = ""
    credential: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A node's place in a server cluster (spec B6): the cluster's role, its name, whether it is the active one."""

    role: str
    node: str
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a server says when it registers (spec B9).  `secret` is 64 hexadecimal digits; it is written nowhere.

    With `synchronise` all of its clouds can be chosen at once; otherwise each after it was synchronised (spec B8).
    """

    key: str
    secret: str
    server: str
    site: str
    particulars: Particulars
    versions: tuple[SeenVersion, ...]
    clouds: tuple[CloudFacts, ...]
    cluster: Membership | None = None
    proxy: VaultProxy | None = None
    encryption_certificate: str = ""
    synchronise: bool = True

    def __repr__(self) -> str:
        return f"Registration(server={self.server!r}, key={self.key!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredNode:
    """A machine that runs a server; a server that is no cluster has one of its own name."""

    name: str
    is_active: bool
    particulars: Particulars
    registered_us: int
    seen_us: int
    versions: tuple[SeenVersion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredServer:
    """A registered server or server cluster, with its nodes in the order of their registration."""

    name: str
    site: str
    is_cluster: bool
    registered_us: int
    nodes: tuple[RegisteredNode, ...]
    proxy: VaultProxy | None = None
    encryption_certificate: str = ""

    @property
    def releases(self) -> tuple[str, ...]:
        """The versions of drill that its nodes run, sorted; one, or the server is in the middle of an upgrade."""
        return tuple(sorted({node.particulars.drill for node in self.nodes}))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredCloud:
    """A cloud in the vault; `synchronised_us` is None until it may be chosen (spec B8)."""

    server: str
    facts: CloudFacts
    synchronised_us: int | None
    encrypts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudPair:
    """A source cloud and what it replicates to (spec D1): a cloud, or a region with a store.

    `store` is the newest one; items that were enabled before it was set stay with theirs (spec D4).
    """

    name: str
    source: str
    target: str = ""
    region: str = ""
    store: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """How an object is to be, as canonical JSON of its kind's own shape; never with a secret in it."""

    kind: Kind
    name: str
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """All desired objects, sorted by kind and name, and the generation at which they were read."""

    generation: int
    objects: tuple[Desired, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Somebody did something, or was refused: `subject` is `KIND NAME`, `detail` says more without any secret."""

    at_us: int
    actor: str
    action: str
    subject: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One look at whether `at` (host:port) can be reached from `looker` (spec A9); `cause` is empty where it could."""

    looker: str
    purpose: str
    at: str
    at_us: int
    reached: bool
    cause: str = ""
