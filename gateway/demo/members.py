"""The demo's federation on paper: three clusters, their services, and each cluster.yaml as a user would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from discovery.model import ServiceName

FEDERATION = "acme"
NAMESPACE = "shop"


class DemoService(msgspec.Struct, frozen=True):
    """A service of one cluster. `kind` is `http` or `tcp`; `exported` names the clusters that may use it."""

    name: str
    kind: str
    exported: tuple[str, ...] = ()

    @property
    def service_name(self) -> ServiceName:
        return ServiceName(NAMESPACE, self.name)


def name_of(service: str) -> str:
    """The DNS name that every cluster has for a service of the demo."""
    return ServiceName(NAMESPACE, service).fqdn


class Member(msgspec.Struct, frozen=True):
    """A cluster: where it is, what runs in it, and where its requests go when it has nothing of its own."""

    name: str
    region: str
    services: tuple[DemoService, ...]
    failover: tuple[str, ...] = ()

    @property
    def trust_domain(self) -> str:
        return f"{self.name}.acme.test"


EAST = Member(
    "east",
    "us-east",
    services=(DemoService("storefront", "http", ("west", "eu")), DemoService("sessions", "tcp")),
    failover=("us-west", "eu-central"),
)
WEST = Member(
    "west",
    "us-west",
    services=(
        DemoService("payments", "http", ("east", "eu")),
        DemoService("ledger", "tcp", ("east", "eu")),
        DemoService("audit", "http", ("eu",)),
    ),
)
EU = Member(
    "eu",
    "eu-central",
    services=(
        DemoService("payments", "http", ("east", "west")),
        DemoService("ledger", "tcp", ("east", "west")),
    ),
)
MEMBERS = (EAST, WEST, EU)

INVOICES = DemoService("invoices", "http", ("east", "eu"))
"""Runs in west from the beginning, and joins its cluster.yaml late in the story."""


class Numbers(msgspec.Struct, frozen=True):
    """What differs from machine to machine."""

    etcd_endpoint: str
    vip_ranges: Mapping[str, str]
    """By cluster."""
    client_ports: Mapping[str, int]
    """By kind of service: the port that clients of a service use, on its virtual IP and by name."""
    endpoint_ports: Mapping[tuple[str, str], int]
    """By cluster and service: where its process listens on 127.0.0.1."""
    roots: Mapping[str, str]
    """By cluster: the fingerprint of its root, which the others pin."""
    rotates: str = ""
    """The cluster whose root is to be replaced within a few seconds: a rotation waits for the last certificate to end,
    so its certificates are short-lived. They cost every gateway new tunnels each few seconds."""


def cluster_yaml(member: Member, numbers: Numbers, services: Sequence[DemoService], members: Sequence[Member]) -> str:
    """The text of a cluster's configuration."""
    peers = "".join(
        f'  {peer.name}: {{trust_domain: {peer.trust_domain}, root: "{numbers.roots[peer.name]}"}}\n'
        for peer in members
        if peer.name != member.name
    )
    trust = "trust: {svid_lifetime: 10s}\n" if member.name == numbers.rotates else ""
    text = f"""\
# Cluster {member.name} of the federation {FEDERATION}. Check it with: isthmus validate -c cluster.yaml
federation: {FEDERATION}
cluster:
  name: {member.name}
  region: {member.region}
  zone: {member.region}-1a
  trust_domain: {member.trust_domain}

# This cluster's CA, what it last heard of the others, and where it really listens (listeners.json).
state_dir: ./state

# Where the clusters leave their signed records for each other.
etcd:
  endpoints: [{numbers.etcd_endpoint}]

# Whom this cluster believes, each by the root that it pinned when they met.
peers:
{peers}
gateway:
  workers: 2
  mesh: 127.0.0.1:0           # for peer gateways, mutual TLS; 0 is any free port, peers learn which one from etcd
  http: 127.0.0.1:0           # for local workloads: HTTP/1.1 and HTTP/2, routed by authority
  vip_range: {numbers.vip_ranges[member.name]}  # an address of its own for each service
dns: {{listen: 127.0.0.1:0, ttl: 5s}}
status: {{listen: 127.0.0.1:0}}
{trust}"""
    if member.failover:
        text += f"""
# Where requests go that nothing in this cluster can answer, the preferred region first.
failover: {{order: [{", ".join(member.failover)}]}}
"""
    return text + "\nservices:\n" + "".join(_service_yaml(service, member, numbers) for service in services)


def _service_yaml(service: DemoService, member: Member, numbers: Numbers) -> str:
    endpoint_port = numbers.endpoint_ports[member.name, service.name]
    check = "{http: /healthz, interval: 500ms}" if service.kind == "http" else "{interval: 500ms}"
    export = (
        f"  export: {{to: [{', '.join(service.exported)}]}}\n"
        if service.exported
        else "  # No export: this service is for this cluster alone.\n"
    )
    return f"""\
- namespace: {NAMESPACE}
  name: {service.name}
  ports: [{{name: {service.kind}, port: {numbers.client_ports[service.kind]}, protocol: {service.kind}}}]
  endpoints: [{{address: 127.0.0.1, port: {endpoint_port}}}]
  health: {check}
{export}"""
