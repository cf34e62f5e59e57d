"""TLS to a service's own endpoints, over real sockets: every protocol, and whom it must not speak to."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trustme

from discovery.model import Protocol
from gateway.endpoint.tls import EndpointContexts, EndpointRefused
from gateway.snapshot import UpstreamTls
from gateway.tunnel.identity import Identity
from tests.gateway_ends import make_authority, make_identity
from tests.tls_endpoint import (
    NAME,
    Serve,
    answer_http1,
    answer_http2,
    roots_of,
    server_context,
    tls_endpoint,
)
from tests.unit.gateway.worker.test_request_path import Gateway, gateway, service


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def serving(address: str, tls: UpstreamTls, protocol: Protocol, identity: Identity) -> AsyncIterator[Gateway]:
    """A gateway whose service has this one endpoint."""
    async with gateway(EndpointContexts(lambda: identity.svid)) as running:
        running.apply(msgspec.structs.replace(service(address, protocol=protocol), tls=tls))
        yield running


async def said(client: socket.socket, request: bytes) -> bytes:
    """The answer to a request that asks for the connection to be closed."""
    client.send(request)
    answer = b""
    while data := await receive(client):
        answer += data
    return answer


async def receive(client: socket.socket) -> bytes:
    await trio.lowlevel.wait_readable(client)
    return client.recv(65_536)


GET = b"GET /x HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % NAME.encode()


@pytest.mark.parametrize(
    ("protocol", "serve", "alpn", "expected"),
    [
        (Protocol.HTTP, answer_http1, ("http/1.1",), b"GET /x HTTP/1.1"),
        (Protocol.HTTP, answer_http1, (), b"GET /x HTTP/1.1"),
        (Protocol.HTTP2, answer_http2, ("h2",), b"GET https"),
        (Protocol.GRPC, answer_http2, ("h2", "http/1.1"), b"grpc-status: 0"),
    ],
)
async def test_http_in_every_version(
    ca: trustme.CA, protocol: Protocol, serve: Serve, alpn: tuple[str, ...], expected: bytes
) -> None:
    """The name that the certificate must have is the service's own unless another is said; HTTP/2 is agreed on by
    ALPN, and its scheme is https."""
    with tls_endpoint(server_context(ca, alpn=alpn), serve) as endpoint:
        async with serving(endpoint.address, UpstreamTls(NAME, roots_of(ca)), protocol, Identity()) as running:
            with running.connect() as client:
                answer = await said(client, GET)
                assert answer.startswith(b"HTTP/1.1 200")
                assert expected in answer
                assert b"nobody" in answer


async def test_raw_tcp_ends_one_direction_at_a_time(ca: trustme.CA) -> None:
    """A client that has said all hears the rest: the end of its direction crosses TLS while the endpoint is in the
    middle of speaking, which costs none of what it says."""
    blob = b"x" * 3_000_000

    def serve(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"welcome")
        tls.sendall(blob)
        heard = 0
        while data := tls.recv(65_536):
            heard += len(data)
        tls.sendall(b"heard %d" % heard)

    with tls_endpoint(server_context(ca), serve) as endpoint:
        tls = UpstreamTls(NAME, roots_of(ca))
        async with serving(endpoint.address, tls, Protocol.HTTP, Identity()) as running:
            with running.connect() as client:
                client.send(b"CONNECT %b:80 HTTP/1.1\r\nhost: %b\r\n\r\n" % (NAME.encode(), NAME.encode()))
                head, _, rest = (await receive(client)).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                client.send(b"y" * 5000)
                client.shutdown(socket.SHUT_WR)
                while data := await receive(client):
                    rest += data
                    await trio.lowlevel.checkpoint()
                assert rest.removeprefix(b"welcome") == blob + b"heard 5000"


@pytest.mark.parametrize(
    ("names", "server_name"),
    [(("127.0.0.1",), "127.0.0.1"), (("*.shop.example",), "payments.shop.example"), (("a.test", NAME), NAME)],
)
async def test_names_that_fit(ca: trustme.CA, names: tuple[str, ...], server_name: str) -> None:
    """As any TLS client compares them (RFC 9525)."""
    with tls_endpoint(server_context(ca, *names), answer_http1) as endpoint:
        tls = UpstreamTls(server_name, roots_of(ca))
        async with serving(endpoint.address, tls, Protocol.HTTP, Identity()) as running:
            with running.connect() as client:
                assert (await said(client, GET)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("another CA", "its certificate is not believed: unable to get local issuer certificate"),
        ("no CA", "no authority is known that may sign its certificate"),
        ("another name", "its certificate is not for other.test"),
        ("a SPIFFE ID", "not an X.509-SVID"),
        ("no TLS", "the TLS handshake failed"),
        ("HTTP/1.1 only", "does not speak HTTP/2 in TLS"),
    ],
)
async def test_who_is_not_spoken_to(ca: trustme.CA, case: str, told: str) -> None:
    """Not one byte of a request goes to a server that can't be verified; the client is told why, in words."""
    roots = {"another CA": roots_of(trustme.CA()), "no CA": ()}.get(case, roots_of(ca))
    names = {"another name": "other.test", "a SPIFFE ID": "spiffe://east.test/ns/shop/sa/payments"}
    tls = UpstreamTls(names.get(case, NAME), roots)
    protocol = Protocol.HTTP2 if case == "HTTP/1.1 only" else Protocol.HTTP
    heard: list[bytes] = []
    with tls_endpoint(server_context(ca), lambda sock: heard.append(sock.recv(100))) as endpoint:
        plain = socket.create_server(("127.0.0.1", 0))
        plain.setblocking(False)
        address = f"127.0.0.1:{plain.getsockname()[1]}" if case == "no TLS" else endpoint.address
        async with serving(address, tls, protocol, Identity()) as running:
            with running.connect() as client, plain:
                client.send(GET)
                if case == "no TLS":
                    await trio.lowlevel.wait_readable(plain)
                    server, _ = plain.accept()
                    with server:
                        # The client's end writes in this thread: a blocking read would wait for itself.
                        await trio.lowlevel.wait_readable(server)
                        hello = server.recv(65_536)
                        assert hello[0] == 0x16
                        assert b"GET" not in hello
                        server.send(b"HTTP/1.1 400 what?\r\n\r\n")
                answer = (await said(client, b"")).decode()
    assert answer.startswith("HTTP/1.1 503")
    assert "isthmus-reason: no-healthy-upstream" in answer
    assert told in answer
    assert b"".join(heard) == b""


async def test_mutual_tls(ca: trustme.CA, tmp_path: Path) -> None:
    """An endpoint that asks who calls is shown the gateway's SVID, and a new one once it was renewed."""
    authority = make_authority(tmp_path, "east")
    identity = make_identity(authority)
    with tls_endpoint(server_context(ca, clients=authority.root_der), answer_http1) as endpoint:
        tls = UpstreamTls(NAME, roots_of(ca))
        async with serving(endpoint.address, tls, Protocol.HTTP, identity) as running:
            with running.connect() as client:
                assert b"spiffe://east.test/ns/isthmus-system/sa/isthmus-gateway" in await said(client, GET)


async def test_the_clusters_own_authority(tmp_path: Path) -> None:
    """An endpoint with an SVID of this cluster has a SPIFFE ID for a name."""
    authority = make_authority(tmp_path, "east")
    identity = make_identity(authority)
    name = "spiffe://east.test/ns/isthmus-system/sa/isthmus-gateway"
    context = identity_context(identity)
    with tls_endpoint(context, answer_http1) as endpoint:
        tls = UpstreamTls(name, (authority.root_der,))
        async with serving(endpoint.address, tls, Protocol.HTTP, identity) as running:
            with running.connect() as client:
                assert (await said(client, GET)).startswith(b"HTTP/1.1 200")


def identity_context(identity: Identity) -> ssl.SSLContext:
    context = identity.server_context()
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_a_server_that_never_answers_is_given_up(ca: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake has a limit of its own."""
    monkeypatch.setattr("gateway.endpoint.tls.HANDSHAKE_TIMEOUT_S", 0.05)
    contexts = EndpointContexts(lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        sock.setblocking(False)
        with pytest.raises(EndpointRefused, match="did not finish") as refused, trio.fail_after(10):
            await contexts.secure(sock, "127.0.0.1:1", Protocol.HTTP, UpstreamTls(NAME, roots_of(ca)))
    assert refused.value.code == "tls-timeout"
    assert sock.fileno() < 0
