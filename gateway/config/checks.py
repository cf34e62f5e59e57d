"""What is wrong with a configuration although each value of it is well-formed."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator

from discovery.address import HostPort
from discovery.config import ExportConfig, service_faults
from discovery.config_values import Fault, Location
from federation.config import peer_faults
from gateway.config.exports import unused
from gateway.config.model import Config
from trust.errors import TrustError
from trust.spiffe_id import SYSTEM_NAMESPACE, parse_spiffe_id
from trust.spiffe_pattern import parse_pattern


def config_faults(config: Config) -> Iterator[Fault]:
    """Everything that does not fit together, in the order of the file's sections."""
    if config.etcd is not None:
        yield from config.etcd.faults(("etcd",))
    yield from peer_faults(config.cluster, config.peers, ("peers",))
    yield from _listener_faults(config)
    yield from _advertise_faults(config)
    yield from service_faults(config.services, ("services",))
    yield from _tls_faults(config)
    yield from _export_faults(config)
    yield from _allow_faults(config)
    yield from _workload_faults(config)
    yield from _import_faults(config)
    yield from config.failover.faults(("failover",), [config.cluster.name, *config.peers])
    yield from config.freshness.faults(("freshness",))
    yield from config.trust.faults(("trust",))


def _listener_faults(config: Config) -> Iterator[Fault]:
    listeners: list[tuple[Location, HostPort]] = [
        (("gateway", "http"), config.gateway.http),
        (("dns", "listen"), config.dns.listen),
        (("status", "listen"), config.status.listen),
    ]
    if config.gateway.mesh is not None:
        listeners.insert(0, (("gateway", "mesh"), config.gateway.mesh))
    if config.trust.bundle_endpoint is not None:
        listeners.append((("trust", "bundle_endpoint", "listen"), config.trust.bundle_endpoint.listen))
    for (first, address), (second, other) in itertools.combinations(listeners, 2):
        if address.overlaps(other):
            message = f"{other} is taken by {'.'.join(map(str, first))} ({address})"
            yield Fault(second, message, "another port for each listener")
    for location, address in listeners:
        if address.ip is not None and address.ip in config.gateway.vip_range:
            message = f"{address} is inside gateway.vip_range, whose addresses belong to services"
            yield Fault(location, message, f"an address outside {config.gateway.vip_range}")


def _advertise_faults(config: Config) -> Iterator[Fault]:
    mesh, advertise = config.gateway.mesh, config.gateway.advertise
    at = ("gateway", "advertise")
    if mesh is None:
        if advertise:
            yield Fault(at, "peers can't reach what does not listen", "gateway.mesh as well, like 0.0.0.0:15443")
        elif any(service.export_to for service in config.local_services()):
            message = "services are exported, and without gateway.mesh no peer can reach them"
            yield Fault(("gateway", "mesh"), message, "an address like 0.0.0.0:15443", warning=True)
    elif mesh.is_wildcard and not advertise:
        expected = "host:port that peers can reach, like [gw.east.example:15443]"
        yield Fault(at, f"missing, and gateway.mesh ({mesh}) does not say where peers reach it", expected)


def _exports(config: Config) -> Iterator[tuple[Location, str, ExportConfig]]:
    """All that say who may see what: where they stand, and what they are about."""
    for index, service in enumerate(config.services):
        if service.export is not None:
            yield ("services", index, "export"), str(service.service_name), service.export
    for index, rule in enumerate(config.exports):
        yield ("exports", index), rule.services, rule


def _export_faults(config: Config) -> Iterator[Fault]:
    for where, what, export in _exports(config):
        for position, cluster in enumerate(export.to):
            at = (*where, "to", position)
            if cluster == config.cluster.name:
                yield Fault(at, "a service is not exported to its own cluster", "names of other clusters")
            elif cluster != "*" and cluster not in config.peers:
                message = f'"{cluster}" is not among peers, so it can\'t reach {what} yet'
                yield Fault(at, message, hint=_nearest(cluster, config), warning=True)
    for index in unused(config.exports, config.services):
        message = "no service goes by it: nothing fits, or what fits has an export of its own, or fits a rule above"
        yield Fault(("exports", index), message, warning=True)


def _allow_faults(config: Config) -> Iterator[Fault]:
    domains = {peer.trust_domain for peer in config.peers.values()}
    for where, _, export in _exports(config):
        for position, text in enumerate(export.allow or ()):
            at = (*where, "allow", position)
            try:
                pattern = parse_pattern(text)
            except TrustError as error:
                yield Fault(at, str(error), "like spiffe://west.acme.test/ns/web/sa/*, with * for a whole segment")
            else:
                if pattern.trust_domain not in domains:
                    message = f"{pattern.trust_domain} is no peer's trust domain, so nobody fits it yet"
                    yield Fault(at, message, warning=True)


def _workload_faults(config: Config) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for index, workload in enumerate(config.workloads):
        at = ("workloads", index)
        if workload.namespace == SYSTEM_NAMESPACE:
            message = f"{SYSTEM_NAMESPACE} is the namespace of gateways, which no workload is"
            yield Fault((*at, "namespace"), message, "another namespace")
        for position, network in enumerate(workload.addresses):
            if network in seen:
                message = f"{network} belongs to workloads[{seen[network]}] already"
                yield Fault((*at, "addresses", position), message, "each address or network once")
            seen.setdefault(network, index)


def _tls_faults(config: Config) -> Iterator[Fault]:
    for index, service in enumerate(config.services):
        name = service.tls.server_name if service.tls is not None else ""
        if name.startswith("spiffe://"):
            try:
                parse_spiffe_id(name)
            except TrustError as error:
                expected = "a SPIFFE ID, like spiffe://east.acme.test/ns/shop/sa/payments"
                yield Fault(("services", index, "tls", "server_name"), str(error), expected)


def _import_faults(config: Config) -> Iterator[Fault]:
    for cluster in config.imports.from_ or ():
        if cluster not in config.peers:
            known = ", ".join(config.peers) or "a cluster that peers names"
            yield Fault(("imports", "from", cluster), "not among peers", known, _nearest(cluster, config))


def _nearest(cluster: str, config: Config) -> str:
    near = difflib.get_close_matches(cluster, config.peers, n=1)
    return f'did you mean "{near[0]}"?' if near else ""
