"""Our bundle endpoint on real sockets: what it serves, to whom, and what it survives."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trio
import trustme

from discovery.address import HostPort
from gateway.config import BundleEndpointConfig
from gateway.trust_keeping import https_server
from gateway.trust_keeping.bundle_endpoint import BundleEndpoint
from gateway.trust_keeping.controller_svid import ControllerSvid
from trust.authority import Authority
from trust.bundle import Bundle, parse_bundle
from trust.contexts import peer_chain
from trust.errors import TrustError
from trust.spiffe_id import gateway_id
from trust.verify import validate_gateway

EAST = "east.acme.test"
GET = b"GET / HTTP/1.1\r\nhost: bundles\r\n\r\n"


class Served:
    """An endpoint that runs, and the authority whose bundle it serves."""

    def __init__(self, endpoint: BundleEndpoint, authority: Authority) -> None:
        self.endpoint = endpoint
        self.authority = authority
        self.sequence = 7
        self.moment = datetime.now(UTC)

    def bundle(self) -> Bundle:
        return self.authority.bundle(self.sequence)


@asynccontextmanager
async def serving(tmp_path: Path, **files: str) -> AsyncIterator[Served]:
    authority = Authority.load_or_create(tmp_path / "trust", EAST, datetime.now(UTC))
    profile = "https_web" if files else "https_spiffe"
    section = BundleEndpointConfig(listen="127.0.0.1:0", profile=profile, **files)  # type: ignore[arg-type]
    svid = ControllerSvid(
        lambda csr: authority.issue_gateway(csr, now=served.moment, lifetime_s=3600), random.Random(1)
    )
    served: Served
    endpoint = BundleEndpoint(section, bundle=lambda: served.bundle(), svid=svid.current, clock=lambda: served.moment)
    served = Served(endpoint, authority)
    async with trio.open_nursery() as nursery:
        await nursery.start(endpoint.run)
        yield served
        nursery.cancel_scope.cancel()


def trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Answer(msgspec.Struct):
    status: int
    headers: str
    body: bytes
    chain: list[bytes]
    version: str


def exchange(address: str, sent: bytes, context: ssl.SSLContext | None = None, name: str = "") -> Answer:
    host, _, port = address.rpartition(":")
    context = context or trusting_anybody()
    with (
        socket.create_connection((host, int(port)), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname=name or None) as tls,
    ):
        tls.sendall(sent)
        received = b""
        while chunk := tls.recv(65_536):
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        return Answer(int(head.split()[1]), head.decode().lower(), body, peer_chain(tls), tls.version() or "")


async def get(served: Served, sent: bytes = GET, context: ssl.SSLContext | None = None, name: str = "") -> Answer:
    return await trio.to_thread.run_sync(exchange, served.endpoint.address, sent, context, name)


async def test_https_spiffe_serves_the_bundle_and_shows_the_gateways_svid(tmp_path: Path) -> None:
    """A reader that has an older bundle of ours checks the answerer by it."""
    async with serving(tmp_path) as served:
        answer = await get(served)
    assert answer.status == 200
    assert "content-type: application/json" in answer.headers
    assert parse_bundle(answer.body, EAST) == served.bundle()
    assert {key["use"] for key in msgspec.json.decode(answer.body)["keys"]} == {"x509-svid", "isthmus-record"}
    bundles = {EAST: [served.authority.root_der]}
    assert validate_gateway(answer.chain, bundles, datetime.now(UTC)) == gateway_id(EAST)


async def test_what_is_served_is_what_is_true_now(tmp_path: Path) -> None:
    """A rotation must be readable as soon as it has begun."""
    async with serving(tmp_path) as served:
        assert parse_bundle((await get(served)).body, EAST).sequence == 7
        served.sequence = 8
        assert parse_bundle((await get(served)).body, EAST).sequence == 8


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """SPIFFE asks for nothing newer than 1.2, and readers are not ours."""
    context = trusting_anybody()
    context.minimum_version = context.maximum_version = version
    async with serving(tmp_path) as served:
        assert (await get(served, context=context)).status == 200


async def test_no_certificate_is_asked_for(tmp_path: Path) -> None:
    """SPIFFE Federation, section 5.2: readers need not be part of any mesh. None is asked for."""
    asked: list[str] = []
    context = trusting_anybody()

    def note(conn: object, direction: str, version: object, kind: object, message: object, data: bytes) -> None:
        asked.append(getattr(message, "name", ""))

    context._msg_callback = note  # type: ignore[attr-defined]
    async with serving(tmp_path) as served:
        await get(served, context=context)
    assert any("CERTIFICATE" in message for message in asked)
    assert not any("CERTIFICATE_REQUEST" in message for message in asked)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nhost: b\r\ncontent-length: 3\r\n\r\nabc", 405),
        (b"HEAD / HTTP/1.1\r\nhost: b\r\n\r\n", 405),
        (b"GET /bundle HTTP/1.1\r\nhost: b\r\n\r\n", 404),
        (b"GET /?now HTTP/1.1\r\nhost: b\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
        (b"\x00\x01garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: b\r\nx: " + b"x" * 20_000, 431),
    ],
)
async def test_only_a_get_of_the_document_is_answered(tmp_path: Path, sent: bytes, status: int) -> None:
    """It is open to the world: whatever else comes has a short answer."""
    async with serving(tmp_path) as served:
        assert (await get(served, sent)).status == status
        assert (await get(served)).status == 200


async def test_clients_that_break_off_or_say_nothing_keep_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent connections end by themselves, and above a limit new ones are turned away at once."""
    monkeypatch.setattr(https_server, "EXCHANGE_S", 0.3)
    async with serving(tmp_path) as served:
        host, _, port = served.endpoint.address.rpartition(":")
        silent = [await trio.open_tcp_stream(host, int(port)) for _ in range(https_server.CONNECTIONS_LIMIT + 2)]
        await silent[0].send_all(b"no handshake")
        for stream in silent:
            with trio.fail_after(10):
                try:
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
            await stream.aclose()
        # A machine may take longer than that for the handshake of an honest client.
        monkeypatch.undo()
        assert (await get(served)).status == 200


async def test_the_svid_is_renewed(tmp_path: Path) -> None:
    """It lives for an hour; the endpoint runs for months."""
    async with serving(tmp_path) as served:
        first = (await get(served)).chain
        assert (await get(served)).chain == first
        served.moment += timedelta(minutes=31)
        assert (await get(served)).chain != first


def write_web_files(directory: Path, ca: trustme.CA) -> dict[str, str]:
    certificate = ca.issue_cert("bundles.acme.test")
    certificate.private_key_pem.write_to_path(str(directory / "web.key"))
    certificate.cert_chain_pems[0].write_to_path(str(directory / "web.crt"))
    return {"cert_file": str(directory / "web.crt"), "key_file": str(directory / "web.key")}


async def test_https_web_shows_the_files_and_takes_renewed_ones(tmp_path: Path) -> None:
    """Web certificates are renewed every few weeks under a server that runs; a bad renewal costs nothing but a line in
    status."""
    ca = trustme.CA()
    context = ssl.create_default_context()
    ca.configure_trust(context)
    name = "bundles.acme.test"
    async with serving(tmp_path, **write_web_files(tmp_path, ca)) as served:
        first = await get(served, context=context, name=name)
        assert first.status == 200
        write_web_files(tmp_path, ca)
        second = await get(served, context=context, name=name)
        assert second.chain != first.chain
        (tmp_path / "web.crt").write_text("half a certifi")
        assert (await get(served, context=context, name=name)).chain == second.chain
        assert "web.crt" in served.endpoint.problem
        write_web_files(tmp_path, ca)
        assert (await get(served, context=context, name=name)).status == 200
        assert served.endpoint.problem == ""


async def test_unusable_files_keep_it_from_starting(tmp_path: Path) -> None:
    """At the start somebody is there to read it."""
    files = write_web_files(tmp_path, trustme.CA())
    (tmp_path / "web.key").write_text("nothing")
    with pytest.RaisesGroup(TrustError):
        async with serving(tmp_path, **files):
            pass


def test_it_listens_where_the_configuration_says() -> None:
    """A name in place of an address would listen on whatever it resolves to."""
    section = BundleEndpointConfig(listen="0.0.0.0:8443", profile="https_spiffe")  # type: ignore[arg-type]
    assert section.listen == HostPort("0.0.0.0", 8443)
