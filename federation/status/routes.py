"""What the status API has: every path, what it answers, and what it is for. The app and its OpenAPI come from here."""

from __future__ import annotations

from typing import Any

import msgspec

from federation.status.values import (
    ClusterDocument,
    ClustersDocument,
    ConfigurationDocument,
    LivenessDocument,
    ReadinessDocument,
    ServiceDocument,
    ServicesDocument,
    StatusDocument,
    TrustDocument,
)


class Answer(msgspec.Struct, frozen=True):
    """One path. `document` is None for what is not one of our documents."""

    path: str
    name: str
    summary: str
    document: Any = None
    parameters: tuple[str, ...] = ()
    other_statuses: tuple[tuple[int, str], ...] = ()


_UNKNOWN_CLUSTER = ((404, "This cluster has no such peer."),)
_UNKNOWN_SERVICE = ((404, "This cluster may use no such service, or nobody has it."),)
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
TRUST = Answer("/v1/trust", "trust", "Who this cluster is, and whom it believes.", TrustDocument)
CONFIGURATION = Answer(
    "/v1/configuration", "configuration", "What the configuration in use says.", ConfigurationDocument
)
OPENAPI = Answer("/v1/openapi.json", "openapi", "This description.")
LIVEZ = Answer("/livez", "livez", "Whether the controller runs.", LivenessDocument)
READYZ = Answer("/readyz", "readyz", "Whether this gateway serves.", ReadinessDocument, (), _UNREADY)
METRICS = Answer("/metrics", "metrics", "Counters and gauges in Prometheus' text format.")

ANSWERS = (STATUS, CLUSTERS, CLUSTER, SERVICES, SERVICE, TRUST, CONFIGURATION, OPENAPI, LIVEZ, READYZ, METRICS)
