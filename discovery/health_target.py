"""Where an endpoint is checked, and in which protocol. Pure."""

from __future__ import annotations

from discovery.model import Endpoint, LocalService, Protocol


def check_target(service: LocalService, endpoint: Endpoint) -> tuple[int, Protocol | None] | None:
    """Which of an endpoint's ports is checked, and what is spoken there. None: there is no check, or the endpoint has
    none of the service's ports.

    A check by connection takes the first port. An HTTP check takes the first port of HTTP/1.1, else of HTTP/2, else
    speaks HTTP/1.1 at the first port, whose own protocol is the user's business. A gRPC check takes the first port of
    gRPC, else of HTTP/2, else the first.
    """
    ports = [port for port in service.ports if port.name in endpoint.ports]
    if service.health is None or not ports:
        return None
    if service.health.kind == "tcp":
        return endpoint.ports[ports[0].name], None
    if service.health.kind == "grpc":
        chosen = min(ports, key=lambda port: _GRPC_PREFERENCE[port.protocol])
        return endpoint.ports[chosen.name], Protocol.GRPC
    chosen = min(ports, key=lambda port: _HTTP_PREFERENCE[port.protocol])
    protocol = Protocol.HTTP2 if chosen.protocol in (Protocol.HTTP2, Protocol.GRPC) else Protocol.HTTP
    return endpoint.ports[chosen.name], protocol


_HTTP_PREFERENCE = {Protocol.HTTP: 0, Protocol.HTTP2: 1, Protocol.GRPC: 1, Protocol.TCP: 2}
_GRPC_PREFERENCE = {Protocol.GRPC: 0, Protocol.HTTP2: 1, Protocol.HTTP: 2, Protocol.TCP: 2}
