"""The first cluster.yaml of a cluster, as `isthmus init` writes it: short, explained where it stands, and valid."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
"""What some reader of YAML takes for something else than text."""


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """What `isthmus init` is told. `etcd` are URLs, none for a private etcd; `mesh` is a listen address or empty,
    `advertise` where peers reach it if that is not `mesh` itself."""

    cluster: str
    federation: str
    trust_domain: str
    region: str = ""
    etcd: Sequence[str] = ()
    mesh: str = ""
    advertise: str = ""


def yaml_text(text: str) -> str:
    """`text` as a YAML scalar that every reader takes for this very text: quoted unless it is plainly a word."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def first_config(beginning: Beginning) -> str:
    """The text of a commented cluster.yaml."""
    return "\n".join(
        (
            _head(beginning),
            _etcd(beginning.etcd),
            _PEERS,
            _gateway(beginning),
            _SERVICES,
        )
    )


def _head(beginning: Beginning) -> str:
    region = beginning.region
    place = f"  region: {yaml_text(region)}\n" if region else "  # region: us-east    # the same region is preferred\n"
    return f"""\
# One cluster, its gateway and its services. Every key is explained in docs/reference/config.md.
# Try a change with:  isthmus validate -c cluster.yaml
# See what it does:   isthmus plan -c new.yaml
# A running gateway takes a changed file in by itself; a bad one is refused, and the old one stays.

# All members of a federation share its name.
federation: {yaml_text(beginning.federation)}

cluster:
  name: {yaml_text(beginning.cluster)}    # unique in the federation
  # Every identity of this cluster is in its trust domain. It can't be changed later without a new trust root.
  trust_domain: {yaml_text(beginning.trust_domain)}
{place}  # zone: us-east-1a    # the same zone is preferred to the rest of the region

# The CA's key, what was last heard of the others, the control socket: for this user only (0700).
state_dir: {yaml_text("state/" + beginning.cluster)}
"""


def _etcd(endpoints: Sequence[str]) -> str:
    if endpoints:
        listed = ", ".join(json.dumps(url, ensure_ascii=False) for url in endpoints)
        return f"""\
# Where the clusters leave their signed records for each other. It is not trusted.
etcd:
  endpoints: [{listed}]
  # ca_file: tls/etcd-ca.crt    # who may sign etcd's certificate; without it, the system's CAs
  # cert_file: tls/client.crt   # our certificate for etcd, with key_file
  # key_file: tls/client.key
  # username: east              # or a user, with password_file
  # password_file: etcd.password
"""
    return """\
# Where the clusters leave their signed records for each other. Without this section the gateway starts a private
# etcd on loopback, which is enough for a trial.
# etcd:
#   endpoints: [https://etcd-1.example:2379]
"""


_PEERS = """\
# Whom this cluster believes: nobody, until somebody is named here. isthmus join and isthmus accept write this for
# you; by hand it is the name, the trust domain and the root that isthmus status prints there:
# peers:
#   west: {trust_domain: west.acme.test, root: "sha256:..."}
"""


def _gateway(beginning: Beginning) -> str:
    mesh = (
        f"  mesh: {json.dumps(beginning.mesh, ensure_ascii=False)}    # for peers' gateways: mutual TLS 1.3\n"
        if beginning.mesh
        else "  # For peers' gateways. Without it this cluster can call others, and nobody can call it.\n"
        "  # mesh: 0.0.0.0:15443\n"
    )
    advertise = (
        f"  advertise: [{json.dumps(beginning.advertise, ensure_ascii=False)}]    # where peers reach mesh\n"
        if beginning.advertise
        else "  # advertise: [gw.east.example:15443]    # where peers reach mesh; needed when mesh is 0.0.0.0\n"
    )
    return f"""\
gateway:
{mesh}{advertise}\
  http: 127.0.0.1:15080       # for local workloads: HTTP/1.1 and HTTP/2, routed by authority
  vip_range: 127.80.0.0/16    # one address of it for each service; this one is reachable on this machine only
dns: {{listen: 127.0.0.1:15053, ttl: 5s}}
status: {{listen: 127.0.0.1:15000}}    # the status API, read-only, for isthmus status and Prometheus
"""


_SERVICES = """\
# What runs here. Nothing is exported that does not say so, and to nobody that it does not name.
# services:
# - namespace: shop
#   name: payments
#   ports: [{name: http, port: 80, protocol: http}]
#   endpoints: [{address: 127.0.0.1, port: 9001}]
#   health: {http: /healthz}
#   export: {to: [west]}
"""
