"""What the status API has: every path, what it answers, and what it is for. The app and its OpenAPI come from here."""

from __future__ import annotations

from typing import Any

import msgspec

from federation.status.event_values import EventsDocument
from federation.status.explain_values import ExplanationDocument
from federation.status.peer_values import ClusterDocument, ClustersDocument
from federation.status.service_values import ServiceDocument, ServicesDocument
from federation.status.trust_values import TrustDocument
from federation.status.values import ConfigurationDocument, LivenessDocument, ReadinessDocument, StatusDocument


class Answer(msgspec.Struct, frozen=True):
    """One path. `document` is None for what is not one of our documents."""

    path: str
    name: str
    summary: str
    document: Any = None
    parameters: tuple[str, ...] = ()
    other_statuses: tuple[tuple[int, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    """Parameters after the question mark, all optional, and what each means."""


_UNKNOWN_CLUSTER = ((404, "This cluster has no such peer."),)
_UNKNOWN_SERVICE = ((404, "This cluster may use no such service, or nobody has it."),)
_TOO_MANY = (503, "As many clients as may follow events already.")
_UNREADY = ((503, "No worker serves; `reasons` says why."),)

STATUS = Answer("/v1/status", "status", "The whole picture.", StatusDocument)
CLUSTERS = Answer("/v1/clusters", "clusters", "Every peer, in three parts.", ClustersDocument)
CLUSTER = Answer("/v1/clusters/{name}", "cluster", "One peer.", ClusterDocument, ("name",), _UNKNOWN_CLUSTER)
SERVICES = Answer("/v1/services", "services", "Every service that this cluster may use.", ServicesDocument)
SERVICE = Answer(
    "/v1/services/{namespace}/{name}",
    "service",
    "One service.",
    ServiceDocument,
    ("namespace", "name"),
    _UNKNOWN_SERVICE,
)
EVENTS = Answer(
    "/v1/events",
    "events",
    "What happened lately, the oldest first; with `Accept: text/event-stream`, as it happens.",
    EventsDocument,
    (),
    ((400, "There is no such id, kind or service."), _TOO_MANY),
    (
        ("since", "Only events with a greater id. A client that comes back sends `Last-Event-ID`, which goes before."),
        ("service", "Only events of this service, `<namespace>/<name>`."),
        ("kind", "Only events of this kind."),
    ),
)
EXPLAIN = Answer(
    "/v1/explain/{namespace}/{name}",
    "explain",
    "Why requests for a service go where they go, now, as the workers see it.",
    ExplanationDocument,
    ("namespace", "name"),
    ((400, "There is no such peer."), _UNKNOWN_SERVICE[0]),
    (
        ("port", "The port's name; its first unless given."),
        ("from", "The cluster that requests come from: this one (the default) or a peer."),
    ),
)
TRUST = Answer("/v1/trust", "trust", "Who this cluster is, and whom it believes.", TrustDocument)
CONFIGURATION = Answer(
    "/v1/configuration", "configuration", "What the configuration in use says.", ConfigurationDocument
)
OPENAPI = Answer("/v1/openapi.json", "openapi", "This description.")
LIVEZ = Answer("/livez", "livez", "Whether the controller runs.", LivenessDocument)
READYZ = Answer("/readyz", "readyz", "Whether this gateway serves.", ReadinessDocument, (), _UNREADY)
METRICS = Answer("/metrics", "metrics", "Counters and gauges in Prometheus' text format.")

ANSWERS = (
    STATUS,
    CLUSTERS,
    CLUSTER,
    SERVICES,
    SERVICE,
    EXPLAIN,
    EVENTS,
    TRUST,
    CONFIGURATION,
    OPENAPI,
    LIVEZ,
    READYZ,
    METRICS,
)
