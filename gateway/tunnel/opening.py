"""How one tunnel is opened: connect, shake hands, and believe nobody before it is proved who answered."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import datetime

import trio

from discovery.address import HostPort
from gateway.transport.dial import connect, handshake
from gateway.transport.resolver import Place
from gateway.transport.tls_socket import TlsSocket
from gateway.tunnel.identity import Identity, Proof

CONNECT_TIMEOUT_S = 2.0
HANDSHAKE_TIMEOUT_S = 5.0


async def open_tunnel(
    place: Place,
    cluster: str,
    context: ssl.SSLContext,
    identity: Identity,
    wall_clock: Callable[[], datetime],
    turns: trio.Lock,
) -> tuple[TlsSocket, Proof]:
    """To the gateway of `cluster` at `place`. `turns`: as `dial.handshake` has it. Raises OSError, TrustError."""
    tls = await _shake_hands(place, context, turns)
    try:
        proof = identity.prove(tls, wall_clock())
        if proof.cluster != cluster:
            raise OSError(f"{shown(place)} is {proof.spiffe_id}, not a gateway of {cluster}")
    except BaseException:
        tls.close()
        raise
    return tls, proof


async def _shake_hands(place: Place, context: ssl.SSLContext, turns: trio.Lock) -> TlsSocket:
    where = shown(place)
    sock: socket.socket
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            sock = await connect(place)
    except trio.TooSlowError:
        raise OSError(f"{where}: no answer within {CONNECT_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise OSError(f"{where}: {error.strerror or error}") from error
    try:
        with trio.fail_after(HANDSHAKE_TIMEOUT_S):
            return await handshake(sock, context, server=False, turns=turns)
    except trio.TooSlowError:
        raise OSError(f"the TLS handshake with {where} took over {HANDSHAKE_TIMEOUT_S:g} s") from None
    except ssl.SSLError as error:
        raise OSError(f"the TLS handshake with {where} failed: {error.reason or error}") from error


def shown(place: Place) -> str:
    return str(HostPort(*place[1]))
