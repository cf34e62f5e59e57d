"""A status source for tests: the federation as east sees it, with west ready and eu not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import UTC, datetime

import trio
from prometheus_client.core import GaugeMetricFamily, Metric

from discovery.model import ServiceName
from federation.status.event_values import BadQuery, EventDocument, EventQuery, EventsDocument
from federation.status.explain_values import (
    EjectedDocument,
    EndpointLoadDocument,
    EndpointStateDocument,
    ExplanationDocument,
    LimitsDocument,
    PlaceDocument,
    RetryBudgetDocument,
)
from federation.status.peer_values import (
    ClusterDocument,
    ClustersDocument,
    ControlDocument,
    DataDocument,
    GatewayDocument,
    PeerServicesDocument,
    TunnelDocument,
)
from federation.status.service_values import (
    ConflictDocument,
    EndpointDocument,
    PortDocument,
    ServiceCountsDocument,
    ServiceDocument,
    ShareDocument,
    ZoneDocument,
)
from federation.status.trust_values import PeerTrustDocument, RootDocument, TrustDocument
from federation.status.values import (
    ConfigurationDocument,
    EtcdDocument,
    EtcdEndpointDocument,
    ItemDocument,
    ListenerDocument,
    ProblemDocument,
    ReadinessDocument,
    StatusDocument,
    TransitionDocument,
    WorkerDocument,
)

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2036, 1, 2, 3, 4, 5, tzinfo=UTC)

WEST = ClusterDocument(
    cluster="west",
    trust_domain="west.acme.test",
    ready=True,
    problem="",
    control=ControlDocument(
        ok=True,
        freshness="fresh",
        freshness_reason="heard",
        freshness_for_s=60.0,
        lease="live",
        bundle_sequence=3,
        acknowledged_sequence=1,
        gateways=(GatewayDocument("west-1", ("127.0.0.1:25443",), "us-west", "us-west-2a", "0.1.0", True),),
        refused_records=0,
    ),
    data=DataDocument(
        ok=True,
        tunnels_ready=4,
        tunnels_wanted=4,
        rtt_ms=0.42,
        spiffe_ids=("spiffe://west.acme.test/ns/isthmus-system/sa/isthmus-gateway",),
        inbound_connections=4,
        gateways=(TunnelDocument("west-1", "127.0.0.1:25443", 4, 4, 0.42),),
    ),
    services=PeerServicesDocument(offered=2, reachable=2),
)
EU = ClusterDocument(
    cluster="eu",
    trust_domain="eu.acme.test",
    ready=False,
    problem="data: no tunnel is ready: 127.0.0.1:35443: Connection refused",
    control=ControlDocument(
        ok=True,
        freshness="suspect",
        freshness_reason="link-down",
        freshness_for_s=3.5,
        lease="live",
        bundle_sequence=1,
        acknowledged_sequence=None,
        gateways=(GatewayDocument("eu-1", ("127.0.0.1:35443",), "eu-central", "", "0.1.0", True),),
        refused_records=1,
    ),
    data=DataDocument(
        ok=False,
        tunnels_ready=0,
        tunnels_wanted=4,
        rtt_ms=None,
        spiffe_ids=(),
        inbound_connections=0,
        gateways=(TunnelDocument("eu-1", "127.0.0.1:35443", 0, 4, None, "Connection refused"),),
    ),
    services=PeerServicesDocument(offered=1, reachable=0),
)
PAYMENTS = ServiceDocument(
    namespace="shop",
    name="payments",
    dns_name="payments.shop.svc.clusterset.local",
    vip="127.80.0.9",
    ports=(PortDocument("http", 80, "http"),),
    reachable=True,
    imported=True,
    exported_to=(),
    clusters=(
        ShareDocument("west", False, ("http",), 2, 2, (ZoneDocument("us-west-2a", 2, 2),), "fresh", True, MOMENT),
        ShareDocument("eu", False, ("http",), None, None, (), "fresh", False, MOMENT),
    ),
    conflicts=(ConflictDocument("eu", "PortConflict", "port 81/http (http) conflicts with port 80/http (http)"),),
    endpoints=(),
)
CART = ServiceDocument(
    namespace="shop",
    name="cart",
    dns_name="cart.shop.svc.clusterset.local",
    vip="127.80.0.7",
    ports=(PortDocument("http", 80, "http"), PortDocument("admin", 9000, "tcp")),
    reachable=False,
    imported=False,
    exported_to=("west", "eu"),
    clusters=(ShareDocument("east", True, ("http", "admin"), 0, 1, (ZoneDocument("", 0, 1),), "fresh", False, MOMENT),),
    conflicts=(),
    endpoints=(EndpointDocument("127.0.0.1", {"http": 9001}, "", False, "unhealthy", "connection-refused"),),
)


EVENTS = (
    EventDocument(
        id=1_767_323_045_000,
        at=MOMENT,
        kind="endpoint-unhealthy",
        service="shop/cart",
        where="127.0.0.1:9002",
        cause="refused",
        message="127.0.0.1:9002 is unhealthy: its http check failed (refused) 3 times in a row",
        numbers={"results": 3.0, "for_s": 2.9},
        workers=None,
        unlisted=0,
    ),
    EventDocument(
        id=1_767_323_045_001,
        at=MOMENT,
        kind="ejected",
        service="shop/payments",
        where="west",
        cause="consecutive-5xx",
        message="west gets no requests for a while: requests to it were answered with 5xx in a row",
        numbers={"consecutive": 5.0},
        workers=2,
        unlisted=3,
    ),
)


EXPLANATION = ExplanationDocument(
    cluster="east",
    namespace="shop",
    name="payments",
    dns_name="payments.shop.svc.clusterset.local",
    port="http",
    from_cluster="east",
    summary="west gets 100 %: east has 0 of 2 healthy (tcp check refused since 12 s)",
    places=(
        PlaceDocument("east", "us-east-1a", 0, "own zone", 0, 2, 0, 0, None, 0.0, 0.0, 0.0, "east has 0 of 2 healthy"),
        PlaceDocument("west", "", 1, "same region", 2, 2, 0, 4, 0.4, 1.0, 1.0, 0.0, ""),
        PlaceDocument("eu", "", 2, "failover.order 1", 2, 2, 1, 4, 21.5, 0.5, 0.0, 0.7, "it is ejected in eu"),
    ),
    ejections=(EjectedDocument("eu", MOMENT, 27.4, 2, "consecutive-5xx", 0.75, 1),),
    endpoints=(
        EndpointStateDocument("127.0.0.1:9001", "us-east-1a", False, "unhealthy", "tcp", "refused", 12.1),
        EndpointStateDocument("127.0.0.1:9002", "us-east-1a", False, "unhealthy", "tcp", "refused", 11.8),
    ),
    limits=(LimitsDocument("local", 0, 1024, 0, 1024, 0), LimitsDocument("west", 1024, 1024, 3, 1024, 35)),
    endpoint_loads=(EndpointLoadDocument("127.0.0.1:9001", 12, 10, 10, 2, 1024),),
    retry_budget=RetryBudgetDocument(1040, 3, 0.2, 6.0),
    panic=False,
    policy="order west, eu",
    consumers=("west", "eu"),
    workers_asked=2,
    workers_answered=2,
    differences=("w1-1 has ejected eu, w1-0 has not",),
    events=EVENTS[:1],
)


class FakeSource:
    """Implements `StatusSource`."""

    def __init__(self, *, ready: bool = True, peers: tuple[ClusterDocument, ...] = (EU, WEST)) -> None:
        self.ready = ready
        self.peers = peers
        self.told = list(EVENTS)
        self.news = trio.Event()
        self.listeners: tuple[ListenerDocument, ...] = (ListenerDocument("http", "http", "127.0.0.1:15080"),)

    async def explain(self, name: ServiceName, port: str, from_cluster: str) -> ExplanationDocument | None:
        if from_cluster == "mars":
            raise BadQuery("mars is no peer")
        return EXPLANATION if str(name) == "shop/payments" and port in ("", "http") else None

    def events(self, query: EventQuery) -> EventsDocument:
        if query.kind == "no-kind":
            raise BadQuery("there is no such kind")
        told = tuple(event for event in self.told if event.id > query.since)
        return EventsDocument("east", self.told[0].id, self.told[-1].id, told)

    async def wait_events(self) -> None:
        await self.news.wait()

    def readiness(self) -> ReadinessDocument:
        return ReadinessDocument(self.ready, () if self.ready else ("no worker serves yet",))

    def status(self) -> StatusDocument:
        readiness = self.readiness()
        return StatusDocument(
            federation="acme",
            cluster="east",
            region="us-east",
            zone="us-east-1a",
            trust_domain="east.acme.test",
            root="sha256:" + "ab" * 32,
            version="0.1.0",
            started_at=MOMENT,
            uptime_s=93_784.5,
            ready=readiness.ready,
            not_ready_because=readiness.reasons,
            workers_wanted=2,
            workers=(WorkerDocument("w1-0", 11, "0.1.0", True, 2), WorkerDocument("w1-1", 12, "0.1.0", True, 2)),
            listeners=self.listeners,
            etcd=EtcdDocument(True, "", True, "", False, (EtcdEndpointDocument("http://127.0.0.1:2379", ""),)),
            peers=self.peers,
            services=ServiceCountsDocument(2, 1, 1, 1),
            problems=(
                ProblemDocument("peer", "eu", EU.problem),
                ProblemDocument("record", "clusters/eu/exports/shop/odd", "bad-signature: it is not eu's"),
            )
            if EU in self.peers
            else (),
            transitions=(TransitionDocument("eu", "fresh", "suspect", "link-down", MOMENT),),
            strangers=(),
        )

    def clusters(self) -> ClustersDocument:
        return ClustersDocument("east", self.peers)

    def cluster(self, name: str) -> ClusterDocument | None:
        return next((peer for peer in self.peers if peer.cluster == name), None)

    @property
    def cluster_name(self) -> str:
        return "east"

    async def services(self) -> AsyncGenerator[Sequence[ServiceDocument], None]:
        yield (CART,)
        yield ()
        yield (PAYMENTS,)

    def service(self, name: ServiceName) -> ServiceDocument | None:
        return next((s for s in (CART, PAYMENTS) if ServiceName(s.namespace, s.name) == name), None)

    def trust(self) -> TrustDocument:
        root = RootDocument("sha256:" + "ab" * 32, MOMENT, LATER)
        return TrustDocument(
            trust_domain="east.acme.test",
            gateway_id="spiffe://east.acme.test/ns/isthmus-system/sa/isthmus-gateway",
            root=root,
            bundle_sequence=1,
            record_keys=("kid-1",),
            svid_lifetime_s=3600.0,
            peers=(PeerTrustDocument("west", "west.acme.test", "sha256:" + "cd" * 32, 3, 1, (root,)),),
        )

    def configuration(self) -> ConfigurationDocument:
        """The west that is a peer, and east's own service."""
        west = ItemDocument("peer", "west", {"trust_domain": "west.acme.test", "root": "sha256:" + "cd" * 32})
        return ConfigurationDocument("east", (west, ItemDocument("setting", "federation", {"value": "acme"})))

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("isthmus_tunnels", "Tunnels.", labels=("cluster", "state"))
        family.add_metric(("west", "ready"), 4)
        yield family
