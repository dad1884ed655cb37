"""An estate of any number of machines as YAML: two sites, hosts of fifty machines each, plans of a hundred."""

from __future__ import annotations

MACHINES_PER_HOST = 50
MACHINES_PER_PLAN = 100


def text(machines: int) -> str:
    """The file: every machine has two cards, two disks, a chosen address and a service."""
    hosts = -(-machines // MACHINES_PER_HOST)
    plans = [range(first, min(first + MACHINES_PER_PLAN, machines)) for first in range(0, machines, MACHINES_PER_PLAN)]
    return "\n".join(
        [
            "vault: {name: large, region: north}",
            "servers:",
            _server("new-york", 1, hosts),
            _server("chicago", 2, hosts),
            "policies: [{name: gold, copy_frequency_seconds: 300}]",
            "pairs: [{name: gold, source: cloud-1, target: cloud-2, policy: gold}]",
            "network_mappings: [{source: front-1, target: front-2}, {source: back-1, target: back-2}]",
            "protected_items:",
            *(_item(number) for number in range(machines)),
            "plans:",
            *(_plan(number, members) for number, members in enumerate(plans)),
            "",
        ]
    )


def _server(site: str, number: int, hosts: int) -> str:
    listed = "\n".join(
        f"              - {{name: {site}-{n}, libvirt: qemu+tls://{site}-{n}/system,"
        f' agent: {{source: "{site}-{n}:8081", receiver: "{site}-{n}:8084"}}}}'
        for n in range(hosts)
    )
    return f"""
  - name: vmm-{site}
    site: {site}
    logical_networks:
      - name: logical-{number}
        vm_networks:
          - {{name: front-{number}, subnets: [{{name: web, cidr: 10.1.0.0/16, gateway: 10.1.0.1}}]}}
          - {{name: back-{number}, subnets: [{{name: data, cidr: 10.2.0.0/16, gateway: 10.2.0.1}}]}}
    clouds:
      - name: cloud-{number}
        capability_profile: kvm
        logical_networks: [logical-{number}]
        sizes: [{{name: standard, max_nics: 4}}]
        host_groups:
          - name: all
            hosts:
{listed}"""


def _item(number: int) -> str:
    low = f"{number // 250}.{number % 250 + 2}"
    mac = f"{number >> 8:02x}:{number & 255:02x}"
    return f"""\
  - name: vm-{number}
    pair: gold
    source_host: new-york-{number // MACHINES_PER_HOST}
    os_type: linux
    os_disk: vda
    memory_mib: 4096
    nics:
      - {{mac: "52:54:00:01:{mac}", network: front-1, subnet: web, addresses: [10.1.{low}/16], gateway: 10.1.0.1}}
      - {{mac: "52:54:00:02:{mac}", network: back-1, subnet: data, addresses: [10.2.{low}/16]}}
    disks: [{{target: vda, size_bytes: 53687091200}}, {{target: vdb, size_bytes: 107374182400}}]
    target: {{size: standard, nics: [{{source: 0, addresses: [10.1.{low}]}}]}}
    services: [{{name: http, port: 80, request: "GET / HTTP/1.0", expect: "200"}}]"""


def _plan(number: int, members: range) -> str:
    names = ", ".join(f"vm-{one}" for one in members)
    objectives = "{rpo_seconds: 600, rto_seconds: 900}"
    return f"  - {{name: plan-{number}, groups: [{{items: [{names}]}}], objectives: {objectives}}}"
