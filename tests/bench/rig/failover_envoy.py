"""Envoy in three clusters that fail over by locality: east, which calls, prefers west to eu.

`envoy_istio_defaults` is what Istio makes of a locality failover: outlier detection of 5 consecutive 5xx every 10 s,
30 s of ejection for at most 10 %, but of one host in any case (which newer Envoys have to be told, and without which
nothing would be ejected of two); 2 retries on other hosts. `envoy_tuned` is the best we know by hand: active health
checks at 1 s, outlier detection at the first error, HTTP/2 PING at 1 s, short connect and per-try timeouts, retries on
resets and at other priorities. Connections are mutual TLS 1.3, as everywhere in the benchmarks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.group import Group
from gateway.demo.leash import Program
from tests.bench.rig import envoy
from tests.bench.rig.contender import AUTHORITIES, Entrance
from tests.bench.rig.endpoints import wait_listening
from tests.bench.rig.identities import Identity, make_identity
from tests.fault_rig.samples import LoadPlan

AUTHORITY = AUTHORITIES[Entrance.HTTP1]
_REMOTES = ("west", "eu")
_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_ISTIO_CLUSTER: envoy.Config = {
    "connect_timeout": "10s",
    "outlier_detection": {
        "consecutive_5xx": 5,
        "interval": "10s",
        "base_ejection_time": "30s",
        "max_ejection_percent": 10,
        "always_eject_one_host": True,
    },
}
_ISTIO_RETRY: envoy.Config = {
    "retry_on": _RETRY_ON,
    "num_retries": 2,
    "retriable_status_codes": [503],
    "host_selection_retry_max_attempts": 5,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
}
_TUNED_CLUSTER: envoy.Config = {
    "connect_timeout": "0.25s",
    "outlier_detection": {
        "consecutive_5xx": 1,
        "consecutive_gateway_failure": 1,
        "enforcing_consecutive_gateway_failure": 100,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_percent": 100,
    },
    "health_checks": [
        {
            "timeout": "0.5s",
            "interval": "1s",
            "no_traffic_interval": "1s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "http_health_check": {"path": "/healthz", "host": AUTHORITY, "codec_client_type": "HTTP2"},
        }
    ],
}
_TUNED_RETRY: envoy.Config = {
    **_ISTIO_RETRY,
    "retry_on": f"{_RETRY_ON},reset,5xx",
    "num_retries": 3,
    "per_try_timeout": "1s",
    "retry_priority": {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3"
            ".PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    },
}
_TUNED_HTTP2: envoy.Config = {"connection_keepalive": {"interval": "1s", "timeout": "1s"}}


class Tuning(msgspec.Struct, frozen=True):
    """What differs between the two: keys of Envoy's cluster, of its route's retry policy, and of its HTTP/2."""

    cluster: envoy.Config
    retry: envoy.Config
    http2: envoy.Config


TUNINGS = {
    "envoy_istio_defaults": Tuning(_ISTIO_CLUSTER, _ISTIO_RETRY, {}),
    "envoy_tuned": Tuning(_TUNED_CLUSTER, _TUNED_RETRY, _TUNED_HTTP2),
}


@contextmanager
def open_failover_envoy(
    program: str, directory: Path, ports: Iterator[int], tuning: Tuning
) -> Iterator[tuple[LoadPlan, list[Group]]]:
    """A load's plan, and everything of west: its gateway, then its endpoint. Runs until the block ends."""
    directory.mkdir()
    identities = {name: make_identity(directory, name) for name in ("east", *_REMOTES)}
    http = next(ports)
    mesh = {name: next(ports) for name in _REMOTES}
    groups: dict[str, list[Group]] = {}
    for name in _REMOTES:
        endpoint = next(ports)
        upstream = envoy.Upstream("http", AUTHORITY, endpoint)
        config = envoy.west_configuration(mesh[name], [upstream], identities[name], identities["east"])
        groups[name] = [
            _gateway(program, directory / name, config),
            _endpoint(directory / f"{name}-endpoint", name, endpoint),
        ]
    groups["east"] = [_gateway(program, directory / "east", _east(http, mesh, identities, directory, tuning))]
    try:
        for name, parts in groups.items():
            for part in parts:
                part.start()
            wait_listening(LOOPBACK, mesh.get(name, http))
        yield LoadPlan((LOOPBACK, http), AUTHORITY), groups["west"]
    finally:
        for part in (part for parts in groups.values() for part in parts):
            part.kill()


def _gateway(program: str, directory: Path, config: envoy.Config) -> Group:
    directory.mkdir()
    path = directory / "envoy.json"
    path.write_bytes(msgspec.json.encode(config))
    options = ["--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart", "--log-level", "error"]
    return Group(directory, [Program("envoy", [program, "-c", str(path), *options])])


def _endpoint(directory: Path, cluster: str, port: int) -> Group:
    """In a group of its own, as the endpoints of our clusters are: what is killed is the same for all."""
    directory.mkdir()
    command = [sys.executable, "-m", "tests.fault_rig.endpoints", cluster, f"http:{port}"]
    return Group(directory, [Program("endpoint", command)])


def _east(
    http: int, mesh: dict[str, int], identities: dict[str, Identity], directory: Path, tuning: Tuning
) -> envoy.Config:
    route = {**envoy.route_to("payments"), "retry_policy": tuning.retry}
    hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
    return {
        "static_resources": {
            "listeners": [envoy.listener("http", LOOPBACK, http, envoy.http_filter(hosts))],
            "clusters": [_cluster(mesh, identities, directory, tuning)],
        }
    }


def _cluster(mesh: dict[str, int], identities: dict[str, Identity], directory: Path, tuning: Tuning) -> envoy.Config:
    """West's gateway at priority 0, eu's at 1, and whoever answers is believed if it is one of the two."""
    roots = directory / "roots.pem"
    roots.write_text("".join(identities[name].root.read_text() for name in mesh))
    anyone = msgspec.structs.replace(identities["west"], root=roots)
    cluster = envoy.gateway_cluster("payments", mesh["west"], identities["east"], anyone)
    validation = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
    validation["match_typed_subject_alt_names"] = [
        {"san_type": "URI", "matcher": {"exact": identities[name].spiffe_id}} for name in mesh
    ]
    for options in cluster["typed_extension_protocol_options"].values():
        options["explicit_http_config"]["http2_protocol_options"] = tuning.http2
    endpoints = [
        {
            "priority": priority,
            "locality": {"region": name},
            "lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": LOOPBACK, "port_value": mesh[name]}}}}
            ],
        }
        for priority, name in enumerate(mesh)
    ]
    return {
        **cluster,
        **tuning.cluster,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": "payments", "endpoints": endpoints},
    }
