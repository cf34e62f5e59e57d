"""What a configuration means, as a state that plans compare: settings, listeners, peers, services, who reaches what.

Names and addresses come from the configuration's own services; with a running gateway's catalog also from what its
peers export to it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel

from discovery.address import HostPort
from discovery.config import HealthConfig, ServiceConfig
from discovery.errors import VipRangeExhausted
from discovery.model import ServiceName
from discovery.vip import VipPool
from federation.imports import ImportPolicy
from federation.status.service_values import ServiceDocument
from gateway.config import Config
from gateway.config.exports import export_of
from gateway.config.plan import ItemKey, State
from trust.spiffe_id import workload_id
from trust.spiffe_pattern import parse_pattern

_LISTENERS = ("gateway.mesh", "gateway.http", "dns.listen", "status.listen")
_OF_THEIR_OWN = ("peers", "services", "workloads", "exports")
"""Sections whose entries are items of their own kind, or show in other items: what `exports` says is who has access."""


def config_state(config: Config) -> State:
    """Everything that the file itself says."""
    state: dict[ItemKey, Mapping[str, str]] = dict(settings_state(config))
    for name, peer in config.peers.items():
        state["peer", name] = dict(_leaves(peer, ""))
    for service in config.services:
        state.update(_service_items(service))
    state.update(_workload_items(config))
    state.update(_access_items(config))
    return state


def settings_state(config: Config) -> State:
    """Settings and listeners only: what a running gateway may refuse to change."""
    state: dict[ItemKey, Mapping[str, str]] = {}
    for path, value in _leaves(config, ""):
        section = path.partition(".")[0]
        if section not in _OF_THEIR_OWN:
            state["listener" if path in _LISTENERS else "setting", path] = {"value": value}
    return state


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Each value below a section with its path, as text. What is not given, or by default is empty, is left out."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            key, item = field.alias or name, getattr(value, name)
            if (path or key not in _OF_THEIR_OWN) and not (item in ("", ()) and item == field.default):
                yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif value is not None:
        yield path, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, tuple | list) and not isinstance(value, HostPort):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _service_items(service: ServiceConfig) -> Iterator[tuple[ItemKey, Mapping[str, str]]]:
    name = str(service.service_name)
    ports = ", ".join(f"{port.name}:{port.port}/{port.protocol}" for port in service.ports)
    facts = {"ports": ports, "health": _health_text(service.health)}
    for key, section in (
        ("labels", service.labels),
        ("tls", service.tls),
        ("timeouts", service.timeouts),
        ("retries", service.retries),
        ("limits", service.limits),
    ):
        if text := " ".join(f"{path}={value}" for path, value in _leaves(section, "")):
            facts[key] = text
    yield ("service", name), facts
    for endpoint in service.endpoints:
        numbers = endpoint.port or ",".join(f"{key}={number}" for key, number in sorted((endpoint.ports or {}).items()))
        facts = {"zone": endpoint.zone, "hostname": endpoint.hostname}
        where = f"{name} {endpoint.address}:{numbers}"
        yield ("endpoint", where), {key: value for key, value in facts.items() if value}


def _health_text(health: HealthConfig) -> str:
    keys = dict(_leaves(health, ""))
    if health.grpc is not None:
        # An empty name is a check as well: of the whole server.
        keys["grpc"] = health.grpc or '""'
    return " ".join(f"{key}={value}" for key, value in keys.items())


def _access_items(config: Config) -> Iterator[tuple[ItemKey, Mapping[str, str]]]:
    """Which clusters may reach which of our services: a peer that an export names, while we listen for peers. One that
    is named and no peer yet will reach it from the moment that it is one."""
    if config.gateway.mesh is None:
        return
    own, domains = config.cluster.name, {name: peer.trust_domain for name, peer in config.peers.items()}
    for service in config.services:
        export = export_of(service, config.exports)
        if export is None:
            continue
        facts = {"ports": ", ".join(f"{port.port}/{port.protocol}" for port in service.ports)}
        for consumer, trust_domain in _consumers(export.to, domains):
            if export.allow is None:
                yield _access(consumer, own, service.service_name), facts
            elif callers := [p for p in export.allow if _may_be_of(p, trust_domain, domains)]:
                yield _access(consumer, own, service.service_name), facts | {"callers": ", ".join(callers)}


def _consumers(named: Iterable[str], domains: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Whom an export means, with its trust domain; None where that is not known yet."""
    if "*" in named:
        yield from domains.items()
        yield "any later peer", None
    else:
        for name in named:
            yield (name, domains[name]) if name in domains else (f"{name}, no peer yet,", None)


def _may_be_of(pattern: str, trust_domain: str | None, domains: Mapping[str, str]) -> bool:
    """Whether callers of that trust domain, or of one that is not known yet, can fit a pattern of `export.allow`."""
    wanted = parse_pattern(pattern).trust_domain
    return wanted == trust_domain if trust_domain is not None else wanted not in domains.values()


def _workload_items(config: Config) -> Iterator[tuple[ItemKey, Mapping[str, str]]]:
    for workload in config.workloads:
        identity = workload_id(config.cluster.trust_domain, workload.namespace, workload.service_account)
        for network in workload.addresses:
            yield ("workload", network), {"identity": str(identity)}


def _access(consumer: str, owner: str, name: ServiceName) -> ItemKey:
    return "access", f"{consumer} -> {name} in {owner}"


# Names and addresses.


def own_names(config: Config) -> set[ServiceName]:
    return {service.service_name for service in config.services}


def names_state(names: Iterable[ServiceName], vip_range: str, known: Mapping[ServiceName, str]) -> State:
    """A name and an address for each service. `known` are the addresses that a gateway gave already; another one
    follows from the name, unless somebody has taken it."""
    wanted = set(names)
    pool = VipPool(ipaddress.ip_network(vip_range), {name: vip for name, vip in known.items() if name in wanted})
    state: dict[ItemKey, Mapping[str, str]] = {}
    for name in sorted(wanted):
        try:
            state["name", name.fqdn] = {"address": pool.assign(name)}
        except VipRangeExhausted:
            state["name", name.fqdn] = {"address": "none: gateway.vip_range is used up"}
    return state


def catalog_state(own: str, services: Iterable[ServiceDocument]) -> State:
    """What a running gateway has: the names that it answers, and which services of others it may reach."""
    state: dict[ItemKey, Mapping[str, str]] = {}
    for service in services:
        name = ServiceName(service.namespace, service.name)
        state["name", name.fqdn] = {"address": service.vip}
        for share in service.clusters:
            if not share.local:
                ports = ", ".join(f"{port.port}/{port.protocol}" for port in service.ports if port.name in share.ports)
                state[_access(own, share.cluster, name)] = {"ports": ports}
    return state


def kept_catalog(config: Config, old_peers: State, services: Iterable[ServiceDocument]) -> list[ServiceDocument]:
    """The services that stay in a running gateway's catalog under `config`: what peers export that stay what they are,
    as far as it is imported still. `old_peers` has the running gateway's peers. What a new peer or a wider import lets
    in nobody knows before it was read."""
    policy = ImportPolicy(config.imports.from_)
    new = {key: facts for key, facts in config_state(config).items() if key[0] == "peer"}
    same = {key[1] for key, facts in new.items() if old_peers.get(key) == facts}
    kept = []
    for service in services:
        name = ServiceName(service.namespace, service.name)
        shares = [s for s in service.clusters if not s.local and s.cluster in same and policy.admits(s.cluster, name)]
        if shares:
            kept.append(msgspec.structs.replace(service, clusters=tuple(shares)))
    return kept
