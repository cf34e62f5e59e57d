"""TLS to a service's own endpoints: contexts, the handshake, and whether the server is who it must be.

A certificate counts only if it chains to the authorities that the service names and is for the name that it says.
There is no way from here to plain text: what can't be verified is not spoken to.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import trio

from discovery.model import Protocol
from gateway.snapshot import UpstreamTls
from gateway.transport.dial import shake_hands
from gateway.transport.tls_socket import TlsSocket
from trust.certificate import parse_certificate, spiffe_id_of
from trust.contexts import endpoint_context
from trust.errors import PeerRejected
from trust.svid import X509Svid

HANDSHAKE_TIMEOUT_S = 5.0
_SPIFFE = "spiffe://"
# OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH.
_WRONG_NAME = (62, 64)

TlsCode: TypeAlias = Literal["tls-untrusted", "tls-wrong-name", "tls-no-h2", "tls-timeout", "tls-failed"]


class EndpointRefused(OSError):
    """An endpoint is not spoken to. `code` is bounded; the message is for people."""

    def __init__(self, code: TlsCode, message: str) -> None:
        super().__init__(message)
        self.code: TlsCode = code


class EndpointContexts:
    """The contexts of one process, made when first needed and forgotten when its own SVID changes.

    Args:
        svid: what is shown to a server that asks for a client certificate, if there is one by now.
    """

    def __init__(self, svid: Callable[[], X509Svid | None]) -> None:
        self._svid = svid
        self._made_with: X509Svid | None = None
        self._contexts: dict[tuple[tuple[bytes, ...], bool, tuple[str, ...]], ssl.SSLContext] = {}

    def get(self, tls: UpstreamTls, alpn: Sequence[str]) -> ssl.SSLContext:
        svid = self._svid()
        if svid is not self._made_with:
            self._contexts.clear()
            self._made_with = svid
        check_name = host_name(tls) is not None
        key = (tls.roots, check_name, tuple(alpn))
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = endpoint_context(svid, tls.roots, alpn=alpn, check_name=check_name)
        return context

    async def secure(self, sock: socket.SocketType, address: str, protocol: Protocol, tls: UpstreamTls) -> TlsSocket:
        """Shakes hands with an endpoint over a connected socket, which it owns. Raises EndpointRefused, OSError."""
        try:
            alpn = alpn_of(protocol)
            secured = TlsSocket(sock, self.get(tls, alpn), server_hostname=host_name(tls))
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                await shake_hands(secured)
            check_peer(secured.object.getpeercert(binary_form=True) or b"", address, tls)
            if alpn == ("h2",) and secured.alpn != "h2":
                raise EndpointRefused("tls-no-h2", f"{address} does not speak HTTP/2 in TLS (ALPN: {secured.alpn})")
        except ssl.SSLError as error:
            sock.close()
            raise explain(error, address, tls) from error
        except trio.TooSlowError:
            sock.close()
            message = f"{address} did not finish the TLS handshake within {HANDSHAKE_TIMEOUT_S:g} s"
            raise EndpointRefused("tls-timeout", message) from None
        except BaseException:
            sock.close()
            raise
        return secured


def alpn_of(protocol: Protocol) -> tuple[str, ...]:
    """What is offered by ALPN (RFC 7301): nothing for TCP, whose own protocol is unknown."""
    if protocol is Protocol.TCP:
        return ()
    return ("http/1.1",) if protocol is Protocol.HTTP else ("h2",)


def host_name(tls: UpstreamTls) -> str | None:
    """The name that OpenSSL compares and sends as SNI; None for a SPIFFE ID, which is compared here."""
    return None if tls.server_name.startswith(_SPIFFE) else tls.server_name


def check_peer(certificate: bytes, address: str, tls: UpstreamTls) -> None:
    """What OpenSSL does not do of the check: the SPIFFE ID of a server whose chain is good. Raises EndpointRefused."""
    if host_name(tls) is not None:
        return
    try:
        identity = str(spiffe_id_of(parse_certificate(certificate)))
    except PeerRejected as error:
        raise EndpointRefused("tls-wrong-name", f"{address}: {error}; expected {tls.server_name}") from None
    if identity != tls.server_name:
        raise EndpointRefused("tls-wrong-name", f"{address} is {identity}; expected {tls.server_name}")


def explain(error: ssl.SSLError, address: str, tls: UpstreamTls) -> EndpointRefused:
    """A failed handshake, in words that say what to look at."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return EndpointRefused("tls-failed", f"{address}: the TLS handshake failed: {error.reason or error}")
    if error.verify_code in _WRONG_NAME:
        return EndpointRefused("tls-wrong-name", f"{address}: its certificate is not for {tls.server_name}")
    if not tls.roots:
        return EndpointRefused("tls-untrusted", f"{address}: no authority is known that may sign its certificate")
    return EndpointRefused("tls-untrusted", f"{address}: its certificate is not believed: {error.verify_message}")
