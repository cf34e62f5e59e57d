"""Envoy and HAProxy with as many services as ours has: each has a listener, a route and an upstream of its own.

An address stands for each service's virtual IP. As ours, each service can be balanced and ejected by itself, so that
each is an Envoy cluster, and a HAProxy backend, in both hops. All are named as the first label of their authority.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from discovery.model import ServiceName
from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.numbers import free_vip_ranges
from tests.bench.rig import envoy, haproxy
from tests.bench.rig.contender import AUTHORITIES, Contender, Entrance, processes_of
from tests.bench.rig.endpoints import Endpoints, wait_listening
from tests.bench.rig.identities import Identity, make_identity

_PORT = 8080
_FIRST = AUTHORITIES[Entrance.HTTP1]
_FIRST_NAME, _, _DOMAIN = _FIRST.partition(".")

Open = Callable[[str, Path, Iterator[int], Endpoints, int], AbstractContextManager[Contender]]


@contextmanager
def open_many_envoy(
    program: str, directory: Path, ports: Iterator[int], endpoints: Endpoints, count: int
) -> Iterator[Contender]:
    """Two Envoys with `count` services each."""
    directory.mkdir()
    http, mesh = next(ports), next(ports)
    east, west = make_identity(directory, "east"), make_identity(directory, "west")
    names = _names(count)
    configurations = {
        "east worker": _envoy_east(names, http, mesh, east, west),
        "west worker": _envoy_west(names, mesh, endpoints.http, west, east),
    }
    with envoy.run_envoys(program, directory, configurations) as group:
        wait_listening(LOOPBACK, http)
        wait_listening(LOOPBACK, mesh)
        version, entrances = envoy.envoy_version(program), {Entrance.HTTP1: (LOOPBACK, http)}
        yield Contender(envoy.NAME, version, entrances, processes_of(group, configurations))


@contextmanager
def open_many_haproxy(
    program: str, directory: Path, ports: Iterator[int], endpoints: Endpoints, count: int
) -> Iterator[Contender]:
    """Two HAProxies with `count` services each."""
    directory.mkdir()
    http, mesh = next(ports), next(ports)
    east, west = make_identity(directory, "east"), make_identity(directory, "west")
    names = _names(count)
    configurations = {
        "east worker": _haproxy_east(names, http, mesh, east, west),
        "west worker": _haproxy_west(names, mesh, endpoints.http, west, east),
    }
    with haproxy.run_haproxies(program, directory, configurations) as group:
        wait_listening(LOOPBACK, http)
        wait_listening(LOOPBACK, mesh)
        version, entrances = haproxy.haproxy_version(program), {Entrance.HTTP1: (LOOPBACK, http)}
        yield Contender(haproxy.NAME, version, entrances, processes_of(group, configurations))


OPENERS: dict[str, Open] = {envoy.NAME: open_many_envoy, haproxy.NAME: open_many_haproxy}


def _names(count: int) -> list[str]:
    return [_FIRST_NAME, *(f"more-{number}" for number in range(count - 1))]


def _addresses(count: int) -> list[str]:
    """One for each service, free at `_PORT` as far as a look at the first of the network tells."""
    (network,) = free_vip_ranges(1, [ServiceName("bench", "http")], [_PORT], random.Random())
    first = ipaddress.IPv4Address(int(network.network_address) + 256)
    return [str(first + number) for number in range(count)]


def _envoy_east(names: Sequence[str], http: int, mesh: int, own: Identity, peer: Identity) -> envoy.Config:
    hosts = [_virtual_host(name) for name in names]
    vips = [
        envoy.listener(name, address, _PORT, envoy.http_filter([host]))
        for name, address, host in zip(names, _addresses(len(names)), hosts, strict=True)
    ]
    return {
        "static_resources": {
            "listeners": [envoy.listener("http", LOOPBACK, http, envoy.http_filter(hosts)), *vips],
            "clusters": [envoy.gateway_cluster(name, mesh, own, peer) for name in names],
        }
    }


def _envoy_west(names: Sequence[str], mesh: int, endpoint: int, own: Identity, peer: Identity) -> envoy.Config:
    routes = envoy.http_filter([_virtual_host(name) for name in names])
    upstreams = [envoy.Upstream(name, f"{name}.{_DOMAIN}", endpoint) for name in names]
    return {
        "static_resources": {
            "listeners": [envoy.listener("mesh", LOOPBACK, mesh, routes, tls=(own, peer))],
            "clusters": [envoy.endpoint_cluster(upstream) for upstream in upstreams],
        }
    }


def _virtual_host(name: str) -> envoy.Config:
    routes = [{"match": {"prefix": "/"}, "route": envoy.route_to(name)}]
    return {"name": name, "domains": [f"{name}.{_DOMAIN}"], "routes": routes}


def _haproxy_east(names: Sequence[str], http: int, mesh: int, own: Identity, peer: Identity) -> str:
    binds = "".join(f"  bind {address}:{_PORT}\n" for address in _addresses(len(names)))
    tls = f"ssl crt {own.combined} ca-file {peer.root} verify required alpn h2"
    backends = "".join(f"backend {name}\n  server west {LOOPBACK}:{mesh} {tls}\n" for name in names)
    return f"{haproxy.COMMON}\nfrontend http\n  bind {LOOPBACK}:{http}\n{binds}{_BY_FIRST_LABEL}{backends}"


def _haproxy_west(names: Sequence[str], mesh: int, endpoint: int, own: Identity, peer: Identity) -> str:
    tls = f"ssl crt {own.combined} ca-file {peer.root} verify required alpn h2"
    backends = "".join(f"backend {name}\n  server endpoint {LOOPBACK}:{endpoint}\n" for name in names)
    return f"{haproxy.COMMON}\nfrontend mesh\n  bind {LOOPBACK}:{mesh} {tls}\n{_BY_FIRST_LABEL}{backends}"


_BY_FIRST_LABEL = "  use_backend %[req.hdr(host),field(1,.)]\n"
