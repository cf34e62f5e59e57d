"""How a worker leaves: it takes nothing new, tells everybody, and waits for what runs."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from gateway.transport.server_connection import ServerConnection
from gateway.worker.clientele import Clientele

DRAIN_CHECK_S = 0.05
# How long peers have to open a tunnel elsewhere between the first ones' end and the last ones'.
TURNOVER_S = 1.0
# One round trip after the first GOAWAY, what was on its way when it went out has arrived (RFC 9113 section 6.8).
ROUND_TRIP_S = 0.5


async def let_go(clientele: Clientele, connections: Iterable[ServerConnection]) -> None:
    """Ends some when what they carry has ended: the listener that let them in is gone for good."""
    leaving = [*connections]
    clientele.say_goodbye(leaving)
    await trio.sleep(ROUND_TRIP_S)
    clientele.take_leave(conn for conn in leaving if conn in clientele.served)


async def depart(clientele: Clientele, timeout_s: float) -> None:
    """Returns when nobody waits for anything any more, or `timeout_s` after the last GOAWAY. Nobody is accepted by
    then."""
    later = clientele.second_tunnels()
    clientele.say_goodbye([conn for conn in clientele.served if conn not in later])
    if later:
        await trio.sleep(min(TURNOVER_S, timeout_s / 4))
        clientele.say_goodbye([conn for conn in clientele.served if conn in later])
    await trio.sleep(min(ROUND_TRIP_S, timeout_s / 2))
    clientele.take_leave(clientele.served)
    with trio.move_on_after(timeout_s):
        while clientele.busy:
            await trio.sleep(DRAIN_CHECK_S)
