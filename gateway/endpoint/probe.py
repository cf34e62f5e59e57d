"""Health checks of endpoints that speak TLS, made as requests are: with the same names, authorities and identity."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime

import trio

from discovery.health_state import Probe
from discovery.model import Protocol, ServiceName
from discovery.probe import connect_plain, make_probe
from discovery.probe_stream import CheckFailed
from gateway.endpoint.tls import EndpointContexts, EndpointRefused, alpn_of, check_peer, explain, host_name
from gateway.snapshot import UpstreamTls
from trust.errors import TrustError
from trust.svid import X509Svid


class EndpointProbe:
    """Makes one check, in TLS where the service says so.

    Args:
        tls_of: how a service's endpoints are spoken to.
        svid: a gateway's SVID, for servers that ask who checks them; raises TrustError.
    """

    def __init__(
        self,
        tls_of: Callable[[ServiceName], UpstreamTls | None],
        svid: Callable[[datetime], X509Svid],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._tls_of = tls_of
        self._svid = svid
        self._wall_clock = wall_clock
        self._last: X509Svid | None = None
        self._contexts = EndpointContexts(self._own_svid)

    async def __call__(self, probe: Probe) -> str | None:
        tls = self._tls_of(probe.service)
        if tls is None:
            return await make_probe(probe)

        async def connect(probe: Probe) -> trio.abc.Stream:
            return await self._secure(await connect_plain(probe), probe, tls)

        return await make_probe(probe, connect)

    async def _secure(self, stream: trio.abc.Stream, probe: Probe, tls: UpstreamTls) -> trio.abc.Stream:
        address = f"{probe.endpoint.address}:{probe.port}"
        context = self._contexts.get(tls, alpn_of(probe.protocol or Protocol.TCP))
        secured = trio.SSLStream(stream, context, server_hostname=host_name(tls), https_compatible=True)
        try:
            await secured.do_handshake()
            check_peer(secured.getpeercert(binary_form=True) or b"", address, tls)
        except BaseException as error:
            await trio.aclose_forcefully(stream)
            if isinstance(error, EndpointRefused):
                raise CheckFailed(error.code) from None
            if isinstance(error.__cause__, ssl.SSLError):
                raise CheckFailed(explain(error.__cause__, address, tls).code) from None
            raise
        return secured

    def _own_svid(self) -> X509Svid | None:
        """The last one while there can be no newer."""
        try:
            self._last = self._svid(self._wall_clock())
        except TrustError:
            pass
        return self._last
