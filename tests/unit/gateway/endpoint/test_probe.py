"""Health checks in TLS are as strict as requests: real servers, real certificates."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trustme

from discovery.health_state import Probe
from discovery.model import Endpoint, HealthCheck, Protocol, ServiceName
from gateway.endpoint.probe import EndpointProbe
from gateway.snapshot import UpstreamTls
from gateway.trust_keeping.controller_svid import ControllerSvid
from tests.gateway_ends import make_authority, seeded, wall_clock
from tests.tls_endpoint import NAME, answer_http1, answer_http2, roots_of, server_context, tls_endpoint
from trust.authority import Authority


def prober(authority: Authority, tls: UpstreamTls | None) -> EndpointProbe:
    def sign(csr: bytes) -> list[bytes]:
        return authority.issue_gateway(csr, now=wall_clock(), lifetime_s=600.0)

    return EndpointProbe(lambda name: tls, ControllerSvid(sign, seeded()).current, wall_clock)


def probe_of(port: int, protocol: Protocol | None) -> Probe:
    check = HealthCheck(http_path="/healthz", timeout_s=10.0)
    return Probe(ServiceName("shop", "payments"), Endpoint("127.0.0.1", {"p": port}), check, port, protocol, 1)


async def test_checks_of_every_kind(tmp_path: Path) -> None:
    """By HTTP in both versions and by connection; whoever asks for a client's certificate is shown ours."""
    ca, authority = trustme.CA(), make_authority(tmp_path, "east")
    check = prober(authority, UpstreamTls(NAME, roots_of(ca)))
    for serve, alpn, protocol in (
        (answer_http1, ("http/1.1",), Protocol.HTTP),
        (answer_http2, ("h2",), Protocol.HTTP2),
        (answer_http1, (), None),
    ):
        context = server_context(ca, alpn=alpn, clients=authority.root_der)
        with tls_endpoint(context, serve) as endpoint, trio.fail_after(10):
            assert await check(probe_of(endpoint.port, protocol)) is None


@pytest.mark.parametrize(
    ("tls_name", "known", "expected"),
    [("other.test", True, "tls-wrong-name"), (NAME, False, "tls-untrusted"), ("spiffe://a/b", True, "tls-wrong-name")],
)
async def test_who_is_not_healthy(tmp_path: Path, tls_name: str, known: bool, expected: str) -> None:
    """An endpoint that requests would refuse to speak to is not called healthy, and the reason is bounded."""
    ca = trustme.CA()
    tls = UpstreamTls(tls_name, roots_of(ca if known else trustme.CA()))
    with tls_endpoint(server_context(ca), answer_http1) as endpoint, trio.fail_after(10):
        for protocol in (Protocol.HTTP, None):
            assert await prober(make_authority(tmp_path, "east"), tls)(probe_of(endpoint.port, protocol)) == expected


async def test_plain_text_stays_plain(tmp_path: Path) -> None:
    """A service without TLS is checked as before; a TLS server is not healthy then."""
    with tls_endpoint(server_context(trustme.CA()), answer_http1) as endpoint, trio.fail_after(10):
        failure = await prober(make_authority(tmp_path, "east"), None)(probe_of(endpoint.port, Protocol.HTTP))
    assert failure in ("closed", "malformed", "unreachable")
