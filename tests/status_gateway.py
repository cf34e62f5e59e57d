"""A status API and a DNS server on real sockets, in a thread: a gateway as the command line sees one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from discovery.address import HostPort
from discovery.dns_message import DnsCounters, Responder
from discovery.dns_server import serve_tcp, serve_udp
from discovery.model import Port, Protocol, ServiceName
from discovery.zone import Zone
from discovery.zone_records import ZoneService
from federation.status.values import ListenerDocument
from gateway.control import ListenerSpec
from gateway.status.server import serve_source
from gateway.transport.listeners import Listeners
from tests.status_documents import FakeSource

_SERVICES = (
    ZoneService(ServiceName("shop", "payments"), ("127.80.0.9",), (Port("http", 80, Protocol.HTTP),)),
    ZoneService(
        ServiceName("shop", "cart"),
        ("127.80.0.7",),
        (Port("http", 80, Protocol.HTTP), Port("admin", 9000, Protocol.TCP)),
    ),
)


@contextmanager
def status_gateway(source: FakeSource, port: int = 0) -> Iterator[str]:
    """Serves `source` and its services' names; yields the API's "host:port". `source.listeners` gets the real ones."""
    ready = threading.Event()
    address: list[str] = []
    stop: list[trio.CancelScope] = []
    tokens: list[trio.lowlevel.TrioToken] = []

    def bound(real: str) -> None:
        address.append(real)
        ready.set()

    async def serve() -> None:
        listeners = Listeners()
        specs = [ListenerSpec(kind, kind, "127.0.0.1:0") for kind in ("dns-udp", "dns-tcp")]
        listeners.open_dns(*specs)
        source.listeners += tuple(ListenerDocument(s.name, s.kind, listeners.address(s.name)) for s in specs)
        udp, tcp = (listeners.sockets[spec.name][1] for spec in specs)
        tokens.append(trio.lowlevel.current_trio_token())
        with udp, tcp:
            async with trio.open_nursery() as nursery:
                stop.append(nursery.cancel_scope)
                nursery.start_soon(serve_udp, udp, _responder())
                nursery.start_soon(serve_tcp, tcp, _responder())
                await serve_source(source, HostPort("127.0.0.1", port), bound)

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert ready.wait(10), "the server did not start"
        yield address[0]
    finally:
        tokens[0].run_sync_soon(stop[0].cancel)
        thread.join(10)
        assert not thread.is_alive(), "the server did not stop"


def _responder() -> Responder:
    zone = Zone("acme")
    for service in _SERVICES:
        zone.upsert(service)
    return Responder(zone, 5, DnsCounters())
