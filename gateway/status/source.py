"""What the status API shows of a running controller. It reads; nothing here changes anything."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from datetime import UTC, datetime

import trio
from prometheus_client.core import Metric

from discovery.model import LocalService, ServiceName
from federation.report import FederationStatus
from federation.service_view import ServiceView
from federation.status.event_values import BadQuery, EventQuery, EventsDocument
from federation.status.explain_values import ExplanationDocument
from federation.status.peer_values import ClusterDocument, ClustersDocument, PeerServicesDocument
from federation.status.service_values import ServiceDocument
from federation.status.trust_values import RotationDocument, TrustDocument
from federation.status.values import (
    ConfigurationDocument,
    ItemDocument,
    ListenerDocument,
    ProblemDocument,
    ReadinessDocument,
    StatusDocument,
    TransitionDocument,
)
from gateway.config import Config
from gateway.config.plan_state import config_state
from gateway.control import Report
from gateway.controller.controller import Controller, wall_clock
from gateway.controller.settings import workers_wanted
from gateway.events.event_log import SETTLE_S
from gateway.process.usage import ProcessUsage, read_usage
from gateway.status.events import describe_diversions, describe_events, recent_events
from gateway.status.explain import Known, describe_explanation
from gateway.status.gateway import (
    describe_etcd,
    describe_listeners,
    describe_peer_etcd,
    describe_pending,
    describe_workers,
)
from gateway.status.metrics import status_metrics
from gateway.status.peers import describe_peer, linked_clusters
from gateway.status.problems import (
    configuration_problems,
    conflict_problems,
    connection_problems,
    endpoint_problems,
    federation_problems,
    frozen_problems,
    join_problems,
    listener_problems,
    peer_problems,
    trust_problems,
    upgrade_problems,
    worker_problems,
)
from gateway.status.services import describe_service
from gateway.status.trust import describe_rotation, describe_trust, rotation_problems
from gateway.telemetry import REFUSED
from gateway.version import VERSION

SERVICES_PER_PAGE = 100
"""A few milliseconds' work."""
_NO_SERVICES = PeerServicesDocument(0, 0)


class ControllerStatus:
    """Implements `federation.status.app.StatusSource` for a controller. Lives inside trio."""

    def __init__(self, controller: Controller) -> None:
        self.status_address = ""
        """Where the API itself listens."""
        self._controller = controller
        self._began = trio.current_time()
        self._config: Config | None = None
        self._local: dict[ServiceName, LocalService] = {}

    def status(self) -> StatusDocument:
        controller, config = self._controller, self._controller.config
        federation = controller.federation.status()
        peers, readiness = self._peers(federation), self.readiness()
        return StatusDocument(
            federation=config.federation,
            cluster=config.cluster.name,
            region=config.cluster.region,
            zone=config.cluster.zone,
            trust_domain=config.cluster.trust_domain,
            root=federation.root,
            version=VERSION,
            started_at=controller.started,
            uptime_s=round(trio.current_time() - self._began, 3),
            ready=readiness.ready,
            not_ready_because=readiness.reasons,
            workers_wanted=workers_wanted(config),
            workers=describe_workers(controller.fleet.links.values()),
            listeners=self._listeners(),
            etcd=describe_etcd(federation.etcd, private=config.etcd is None),
            peers=peers,
            services=controller.counts.in_all(linked_clusters(self._reports()), self._exported()),
            problems=tuple(self._problems(federation, peers)),
            transitions=tuple(
                TransitionDocument(t.cluster, t.before, t.after, t.reason, datetime.fromtimestamp(t.at, UTC))
                for t in federation.transitions
            ),
            strangers=federation.strangers,
            peer_etcds=tuple(describe_peer_etcd(etcd) for etcd in federation.peer_etcds),
            diversions=describe_diversions(
                controller.events.diversions.current(wall_clock().timestamp()), self._is_known
            ),
            pending=tuple(describe_pending(*waiting) for waiting in controller.admissions.pending()),
        )

    def readiness(self) -> ReadinessDocument:
        reports = self._reports()
        if any(report.ready for report in reports):
            return ReadinessDocument(True, ())
        why = "no worker has its certificate and its snapshot yet" if reports else "no worker has reported yet"
        return ReadinessDocument(False, (why,))

    def clusters(self) -> ClustersDocument:
        return ClustersDocument(self._own, self._peers(self._controller.federation.status()))

    def cluster(self, name: str) -> ClusterDocument | None:
        return next((peer for peer in self.clusters().clusters if peer.cluster == name), None)

    @property
    def cluster_name(self) -> str:
        return self._own

    async def services(self) -> AsyncGenerator[Sequence[ServiceDocument], None]:
        names = sorted(self._controller.federation.services(), key=_in_order)
        for start in range(0, len(names), SERVICES_PER_PAGE):
            yield tuple(self._services(names[start : start + SERVICES_PER_PAGE]))
            await trio.lowlevel.checkpoint()

    def service(self, name: ServiceName) -> ServiceDocument | None:
        return next(self._services([name]), None)

    async def explain(self, name: ServiceName, port: str, from_cluster: str) -> ExplanationDocument | None:
        controller, asker = self._controller, from_cluster or self._own
        if asker != self._own and asker not in controller.config.peers:
            raise BadQuery(f"{asker[:40]!r} is neither this cluster nor a peer of it; /v1/clusters lists the peers")
        view = controller.federation.services().get(name)
        if view is None or (port and port not in {known.name for known in view.ports}):
            return None
        answers = await controller.explainer.ask(str(name), port, "" if asker == self._own else asker)
        return describe_explanation(answers, self._known(view, port, asker))

    def _known(self, view: ServiceView, port: str, asker: str) -> Known:
        """What the controller knows, after the workers have answered."""
        controller, federation = self._controller, self._controller.federation.status()
        local = self._local_services().get(view.name)
        clusters = {export.cluster for export in view.exports}
        now = wall_clock().timestamp()
        return Known(
            cluster=self._own,
            name=view.name,
            port=port or next((known.name for known in view.ports), ""),
            from_cluster=asker,
            now=now,
            monotonic_now=trio.current_time(),
            consumers=local.export_to if local is not None else (),
            endpoints=controller.services.health.endpoints(view.name),
            peers=federation.peers,
            links=self._peers(federation),
            events=recent_events(controller.events.log, str(view.name), clusters),
        )

    def events(self, query: EventQuery) -> EventsDocument:
        return describe_events(self._controller.events.log, query, self._own, wall_clock().timestamp())

    async def wait_events(self) -> None:
        events = self._controller.events
        settles = events.log.unsettled_from(wall_clock().timestamp()) is not None
        with trio.move_on_after(SETTLE_S if settles else math.inf):
            await events.wait_news()

    def trust(self) -> TrustDocument:
        controller = self._controller
        return describe_trust(
            controller.authority,
            controller.federation.status(),
            controller.federation.peers(),
            svid_lifetime_s=controller.config.trust.svid_lifetime_s,
            rotation=self._rotation(),
        )

    def _rotation(self) -> RotationDocument | None:
        keeper = self._controller.trust_keeper
        if keeper is None:
            return None
        state = self._controller.federation.publication_state()
        return describe_rotation(keeper.rotation, keeper.waiting(), state)

    def configuration(self) -> ConfigurationDocument:
        state = config_state(self._controller.config)
        items = (ItemDocument(kind, name, dict(facts)) for (kind, name), facts in state.items())
        return ConfigurationDocument(self._own, tuple(items))

    def collect(self) -> Iterator[Metric]:
        yield from self._controller.totals.collect()
        refused: dict[tuple[str, ...], float] = {
            (peer.cluster, reason): float(count)
            for peer in self._controller.federation.status().peers
            for reason, count in peer.refusal_counts.items()
        }
        endpoints = ((str(name), healthy, total) for name, healthy, total in self._controller.services.health.counts())
        yield from status_metrics(self.status(), refused, self._usages(), endpoints)

    # Parts.

    @property
    def _own(self) -> str:
        return self._controller.config.cluster.name

    def _reports(self) -> Sequence[Report]:
        return [link.report for link in self._controller.fleet.links.values() if link.report is not None]

    def _listeners(self) -> tuple[ListenerDocument, ...]:
        opened = [*describe_listeners(self._controller.listeners)]
        if (endpoint := self._controller.bundle_endpoint) is not None:
            opened.append(ListenerDocument("bundle", "bundle", endpoint.address))
        return (*opened, ListenerDocument("status", "status", self.status_address))

    def _peers(self, federation: FederationStatus) -> tuple[ClusterDocument, ...]:
        reports = self._reports()
        services = self._controller.counts.by_cluster(linked_clusters(reports))
        return tuple(
            describe_peer(peer, reports, services.get(peer.cluster, _NO_SERVICES)) for peer in federation.peers
        )

    def _services(self, names: Iterable[ServiceName]) -> Iterator[ServiceDocument]:
        federation, local = self._controller.federation, self._local_services()
        health = self._controller.services.health
        linked = linked_clusters(self._reports())
        for name in names:
            view = federation.services().get(name)
            if view is not None:
                yield describe_service(
                    view,
                    own_cluster=self._own,
                    vip=federation.vip(name),
                    local=local.get(name),
                    endpoints=health.endpoints(name),
                    linked=linked,
                )

    def _local_services(self) -> dict[ServiceName, LocalService]:
        """The configuration's services, made anew only when it has changed."""
        config = self._controller.config
        if config is not self._config:
            self._config = config
            self._local = {service.name: service for service in config.local_services()}
        return self._local

    def _is_known(self, service: str) -> bool:
        return ServiceName(*service.split("/", 1)) in self._controller.federation.services()

    def _exported(self) -> int:
        return sum(bool(service.export_to) for service in self._local_services().values())

    def _problems(self, federation: FederationStatus, peers: Sequence[ClusterDocument]) -> Iterator[ProblemDocument]:
        controller, reports = self._controller, self._reports()
        yield from configuration_problems(controller.reloading.problem)
        yield from upgrade_problems(controller.upgrade_problem)
        yield from trust_problems(controller.trust_problem)
        yield from rotation_problems(self.trust(), controller.federation.publication_state(), wall_clock())
        yield from worker_problems(sum(report.ready for report in reports), workers_wanted(controller.config))
        listeners = controller.listeners
        yield from frozen_problems(controller.fleet.frozen)
        yield from endpoint_problems(controller.services.authorities.problems)
        yield from listener_problems(listeners.problems, listeners.waiting, listeners.vip_limit)
        yield from federation_problems(federation)
        yield from join_problems(controller.admissions.refused, controller.admissions.problems())
        yield from peer_problems(peers)
        yield from connection_problems(reports, controller.totals.counter(REFUSED), wall_clock())
        yield from conflict_problems(controller.counts.disputed)

    def _usages(self) -> dict[str, ProcessUsage]:
        pids = {link.id: link.pid for link in self._controller.fleet.links.values()}
        usages = {process: read_usage(pid) for process, pid in {"controller": os.getpid(), **pids}.items()}
        return {process: usage for process, usage in usages.items() if usage is not None}


def _in_order(name: ServiceName) -> tuple[str, str]:
    # As names order themselves, several times as fast.
    return name.namespace, name.name
