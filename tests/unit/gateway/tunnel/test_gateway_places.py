"""Where one gateway is, over virtual time."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from gateway.snapshot import GatewayAddress
from gateway.transport.resolver import SYSTEM_TTL_S, TTL_LEAST_S, Place, Resolution
from gateway.tunnel.gateway_places import GatewayPlaces

TTL_S = 60.0


def place(host: str) -> Place:
    return (socket.AF_INET, (host, 15443))


class Names:
    """A name server: what it would answer, and how often it was asked."""

    def __init__(self, **hosts: str) -> None:
        self.hosts = hosts
        self.asked = 0

    async def resolve(self, address: str) -> Resolution:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if address not in self.hosts:
            raise OSError(f"{address}: no such name")
        return Resolution(tuple(place(host) for host in self.hosts[address].split()), TTL_S)


class Gateway:
    def __init__(self, names: Names, *addresses: str) -> None:
        self.moves = 0
        self.places = GatewayPlaces(GatewayAddress("g1", addresses), names, self._moved)

    def _moved(self) -> None:
        self.moves += 1


async def test_an_answer_counts_for_its_time(autojump_clock: trio.testing.MockClock) -> None:
    """Many dial at once, and one question is enough; afterwards it is asked again, and only a change is told."""
    names = Names(west="127.0.0.2 127.0.0.3 127.0.0.2")
    gateway = Gateway(names, "west")
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(gateway.places.look_up)
    assert (names.asked, gateway.moves) == (1, 1)
    assert gateway.places.known == (place("127.0.0.2"), place("127.0.0.3"))
    await trio.sleep(gateway.places.left_s)
    names.hosts["west"] = "127.0.0.3 127.0.0.2"
    await gateway.places.look_up()
    assert (names.asked, gateway.moves) == (2, 1), "another order is the same places"


async def test_what_was_known_stays_when_nobody_answers(autojump_clock: trio.testing.MockClock) -> None:
    """A resolver that is away must not take a gateway with it; and one name of two is enough."""
    names = Names(west="127.0.0.2")
    gateway = Gateway(names, "west", "old-west")
    await gateway.places.look_up()
    assert gateway.places.left_s <= SYSTEM_TTL_S, "the name that failed is asked for again before long"
    await trio.sleep(TTL_S)
    names.hosts.clear()
    with pytest.raises(OSError, match="west: no such name; old-west: no such name"):
        await gateway.places.look_up()
    assert gateway.places.known == (place("127.0.0.2"),)
    with pytest.raises(OSError, match="advertises no address"):
        await Gateway(names).places.look_up()


async def test_peers_05_a_doubted_address_is_looked_up_before_its_time(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody answers there, so the name may have moved; still not more often than is polite. One that says that it is
    elsewhere is believed at once."""
    names = Names(west="127.0.0.2", east="127.0.0.4")
    gateway = Gateway(names, "west")
    await gateway.places.look_up()
    gateway.places.doubt()
    assert 0 < gateway.places.left_s <= TTL_LEAST_S
    await trio.sleep(TTL_LEAST_S)
    names.hosts["west"] = "127.0.0.3"
    await gateway.places.look_up()
    assert gateway.places.known == (place("127.0.0.3"),)
    gateway.places.readdress(GatewayAddress("g1", ("east",)))
    await gateway.places.look_up()
    assert gateway.places.known == (place("127.0.0.4"),)
    assert gateway.moves == 3
