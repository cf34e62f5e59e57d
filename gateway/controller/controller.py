"""The controller: one process that knows and decides, and never touches a user's bytes.

It is this program's composition root. Federation tells it what is believed, health checks what lives here; it compiles
both into the snapshot, opens the sockets, and keeps the workers that serve them. It answers the status API.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

from discovery.address import parse_host_port
from discovery.model import ServiceName
from federation.etcd.client import EtcdClient
from federation.federation import Federation
from federation.invitation_files import InvitationFiles
from federation.report import PeerTransition
from federation.service_view import ServiceView
from gateway.config import Config
from gateway.control import Explained, ListenerSpec, Report
from gateway.controller.compile import compile_local, compile_peer, compile_service
from gateway.controller.explainer import Explainer
from gateway.controller.fleet import Fleet
from gateway.controller.local_services import LocalServices
from gateway.controller.reloading import Reloading
from gateway.controller.service_counts import ServiceCounts
from gateway.controller.settings import config_listeners, federation_settings, workers_wanted
from gateway.controller.totals import Totals
from gateway.controller.vip_listeners import VipListeners
from gateway.controller.worker_link import WorkerLink
from gateway.events.event_recorder import EventRecorder
from gateway.process.descriptors import vip_listener_limit
from gateway.process.garbage import spare_what_is_there
from gateway.snapshot import LOCAL_KEY, ServiceResource, peer_key, service_key
from gateway.transport.listeners import Listeners
from gateway.trust_keeping.admissions import Admissions
from gateway.trust_keeping.bundle_endpoint import BundleEndpoint
from gateway.trust_keeping.sources import open_identity, trust_keeper
from trust.fingerprint import fingerprint_of
from trust.workload_authority import WorkloadAuthority

log = logging.getLogger("isthmus.controller")

LISTEN_RETRY_S = 1.0
# After a start: what the peers offer is in the catalog by then, if it can be had at all.
CATALOG_SETTLED_S = 30.0


class Controller:
    """One gateway's controller. Implements `federation.FederationListener`."""

    def __init__(self, config: Config, config_path: Path, workload: WorkloadAuthority | None = None) -> None:
        self.config = config
        self.started = wall_clock()
        self.counts = ServiceCounts(config.cluster.name)
        self.events = EventRecorder(lambda: wall_clock().timestamp(), self.counts.change)
        self.totals = Totals()
        self.listeners = Listeners(vip_listener_limit())
        self._vip_listeners = VipListeners(self.listeners)
        self.upgrade_problem = ""
        """Why the last upgrade was refused."""
        self.moved: Callable[[], None] = lambda: None
        """Called when listening sockets may have other addresses than before."""
        self.reloading = Reloading(config_path, config, self._take_config)
        self._rng = random.Random()
        self.identity = open_identity(
            config, workload, wall_clock, self._rng, gateway=lambda: self.federation.gateway_id
        )
        self.authority = self.identity.source
        self.federation = Federation(
            settings=federation_settings(config), authority=self.authority, listener=self, rng=self._rng
        )
        self.services = LocalServices(
            self.federation,
            self._rng,
            changed=self.services_changed,
            endpoint_changed=self.events.endpoint_changed,
            trust=self.authority,
            svid=self.identity.svid,
            wall_clock=wall_clock,
        )
        self.fleet = Fleet(
            config.state_dir,
            workers_wanted(config),
            self.listeners,
            sign=self.identity.certify,
            reported=self._worker_reported,
            explained=self._worker_explained,
            ended=self._worker_ended,
        )
        self.renewal = self.identity.renewal(self.federation, self._identity_changed)
        self.bundle_endpoint = (
            BundleEndpoint(
                config.trust.bundle_endpoint,
                bundle=self.federation.own_bundle,
                svid=self.identity.svid,
                clock=wall_clock,
            )
            if config.trust.bundle_endpoint is not None
            else None
        )
        self.explainer = Explainer(self.fleet.links)
        self.trust_keeper = trust_keeper(config, self.authority, self.federation, self.fleet)
        self.admissions = Admissions(
            files=InvitationFiles(config.state_dir),
            requests=self.federation,
            roots=self._roots,
            config=lambda: self.config,
            config_path=config_path,
            reload=self.reloading.reload,
        )
        self._links_up: dict[str, bool] = {}

    # Life.

    async def start(self, nursery: trio.Nursery, etcd: EtcdClient, *, replace_workers: bool = False) -> None:
        """Serves what is known already, with or without etcd; the rest lives in `nursery`. With `replace_workers`, new
        ones come in place of those that an earlier controller left. Raises ListenError."""
        if self.bundle_endpoint is not None:
            # Before the workers: what keeps it from listening shall leave no processes behind.
            await nursery.start(self.bundle_endpoint.run)
        await self.fleet.adopt(nursery)
        self._open_listeners()
        self.fleet.links.apply({LOCAL_KEY: compile_local(self.config)})
        self.services.replace(self.config.local_services())
        # Workers take in what is read from disk while more of it is read.
        self.fleet.start(replace_all=replace_workers)
        self.fleet.links.listen(self.listeners.sockets)
        await nursery.start(self.federation.run, etcd)
        self.peers_changed(set(self.config.peers))
        self.fleet.links.complete()
        self._advertise()
        nursery.start_soon(self.services.run)
        nursery.start_soon(self.reloading.run)
        nursery.start_soon(self.admissions.run)
        nursery.start_soon(self._retry_listeners)
        nursery.start_soon(self._close_left_over)
        if self.renewal is not None:
            nursery.start_soon(self.renewal.run)
        if self.trust_keeper is not None:
            nursery.start_soon(self.trust_keeper.run)

    async def stop(self) -> None:
        """Lets the workers finish what runs."""
        await self.fleet.drain(self.config.gateway.drain_timeout_s)
        self.listeners.close_all()

    def _open_listeners(self) -> None:
        dns = self.config.dns
        for spec in config_listeners(self.config):
            self.listeners.open(spec)
        if self.config.gateway.mesh is None:
            self._close_listeners(["mesh"])
        self.listeners.open_dns(
            ListenerSpec("dns-udp", "dns-udp", str(dns.listen)), ListenerSpec("dns-tcp", "dns-tcp", str(dns.listen))
        )

    def _advertise(self) -> None:
        gateway, mesh = self.config.gateway, self.listeners.address("mesh")
        advertised = gateway.advertised(parse_host_port(mesh)) if gateway.mesh is not None else ()
        self.federation.set_gateway([str(address) for address in advertised])

    def _roots(self) -> tuple[str, ...]:
        """The fingerprints that others may have pinned of us, what new peers pin first."""
        believed = map(fingerprint_of, self.authority.bundle(0).authorities)
        return tuple(dict.fromkeys([self.authority.fingerprint, *believed]))

    # What workers say.

    def _identity_changed(self) -> None:
        """A Workload API gave another SVID, or other roots."""
        self.federation.trust_changed()
        certificate = self.identity.given()
        if certificate is not None:
            self.fleet.links.certify(certificate)

    def _worker_reported(self, link: WorkerLink, report: Report) -> None:
        self.totals.take(link.id, report.counters, report.durations)
        self.events.worker_reported(link.id, report.events, len(self.fleet.links))
        for cluster in self.config.peers:
            up = any(self.tunnels_ready(cluster))
            if self._links_up.get(cluster, False) != up:
                self._links_up[cluster] = up
                self.events.link_changed(cluster, up, self._tunnel_errors(cluster))
                self.federation.observe_link(cluster, up)

    @property
    def trust_problem(self) -> str:
        """Why this cluster's identity can't be renewed; empty when it can."""
        keeper = self.renewal or self.trust_keeper
        renewal = keeper.problem if keeper is not None else ""
        return renewal or (self.bundle_endpoint.problem if self.bundle_endpoint is not None else "")

    def _worker_ended(self, worker: str) -> None:
        self.totals.retire(worker)
        self.events.worker_ended(worker)

    def _worker_explained(self, link: WorkerLink, message: Explained) -> None:
        self.explainer.explained(link, message)

    def _tunnel_errors(self, cluster: str) -> list[str]:
        reports = [link.report for link in self.fleet.links.values() if link.report is not None]
        return [tunnel.error for report in reports for tunnel in report.tunnels if tunnel.cluster == cluster]

    def tunnels_ready(self, cluster: str) -> list[int]:
        """Ready tunnels to a peer, for each worker that has reported."""
        return [
            sum(tunnel.ready for tunnel in link.report.tunnels if tunnel.cluster == cluster)
            for link in self.fleet.links.values()
            if link.report is not None
        ]

    # What federation says (FederationListener).

    def freshness_changed(self, transitions: Sequence[PeerTransition]) -> None:
        self.events.freshness_changed(transitions)

    def services_changed(self, names: set[ServiceName]) -> None:
        self.events.services_changed(names, self.federation.services())
        services = self.federation.services()
        resources = {name: self._compile_service(name, services.get(name)) for name in names}
        closed, opened = self._vip_listeners.follow(resources)
        if closed:
            self.fleet.links.unlisten(closed)
        self.fleet.links.listen(opened)
        self.fleet.links.apply({service_key(name): resource for name, resource in resources.items()})

    def peers_changed(self, clusters: set[str]) -> None:
        peers = self.federation.peers()
        self.fleet.links.apply(
            {peer_key(cluster): compile_peer(peers[cluster]) if cluster in peers else None for cluster in clusters}
        )

    def _compile_service(self, name: ServiceName, view: ServiceView | None) -> ServiceResource | None:
        if view is None:
            return None
        return compile_service(
            view,
            self.config.cluster.name,
            self.services.get(name),
            self.federation.vip(name),
            self.services.health.is_healthy,
            self.services.tls(name),
        )

    def _close_listeners(self, names: list[str]) -> None:
        for name in names:
            self.listeners.close(name)
        if names:
            self.fleet.links.unlisten(names)

    async def _retry_listeners(self) -> None:
        while True:
            await trio.sleep(LISTEN_RETRY_S)
            self.fleet.links.listen(self.listeners.retry())

    async def _close_left_over(self) -> None:
        """Services may have gone while no controller ran. Whether they have is known when the catalog is."""
        await trio.sleep(CATALOG_SETTLED_S)
        spare_what_is_there()
        self._close_listeners(self._vip_listeners.left_over())

    # What the configuration says.

    def _take_config(self, config: Config) -> None:
        """Another configuration, all or nothing. Raises ListenError, and OSError if a password file is gone."""
        settings = federation_settings(config)
        moved = self.listeners.move(config_listeners(config))
        self.config = config
        self.fleet.links.listen(moved)
        if config.gateway.mesh is None:
            self._close_listeners(["mesh"])
        self.moved()
        self.fleet.links.apply({LOCAL_KEY: compile_local(config)})
        self.fleet.resize(workers_wanted(config))
        self._advertise()
        self.federation.configure(settings)
        self.services.replace(config.local_services())


def wall_clock() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - certificates and records carry wall-clock times
