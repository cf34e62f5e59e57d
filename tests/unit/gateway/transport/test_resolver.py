"""From names to addresses, with a nameserver of our own."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.transport.resolver import SYSTEM_TTL_S, TTL_LEAST_S, Resolver
from tests.name_server import NameServer


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer(ttl_s=7) as server:
        yield server


def asking(server: NameServer) -> Resolver:
    resolver = Resolver()
    resolver.nameservers = (server.address,)
    return resolver


async def test_an_address_needs_no_resolver(server: NameServer) -> None:
    """And holds for ever, also where a nameserver is configured."""
    for resolver in (Resolver(), asking(server)):
        found = await resolver.resolve("127.0.0.1:15443")
        assert found.places == ((socket.AF_INET, ("127.0.0.1", 15443)),)
        assert found.ttl_s == float("inf")
    assert not server.asked


async def test_a_name_has_every_address_for_as_long_as_its_ttl_says(server: NameServer) -> None:
    """That is how a gateway behind several addresses is used through all of them, and a move is noticed."""
    server.hosts["gw.west.test"] = ["127.0.0.2", "127.0.0.3"]
    found = await asking(server).resolve("gw.west.test:15443")
    assert sorted(found.places) == [
        (socket.AF_INET, ("127.0.0.2", 15443)),
        (socket.AF_INET, ("127.0.0.3", 15443)),
    ]
    assert found.ttl_s == 7


async def test_a_nameserver_is_not_asked_without_end(server: NameServer) -> None:
    """Some say a TTL of 0."""
    server.ttl_s = 0
    server.hosts["gw.west.test"] = ["127.0.0.2"]
    assert (await asking(server).resolve("gw.west.test:1")).ttl_s == TTL_LEAST_S


async def test_a_name_without_an_address(server: NameServer) -> None:
    """Neither kind is there: as if the name were not."""
    server.hosts["gw.west.test"] = []
    with pytest.raises(OSError, match=r"gw\.west\.test"):
        await asking(server).resolve("gw.west.test:1")


async def test_a_name_that_does_not_exist(server: NameServer) -> None:
    """An error like another, which names it."""
    with pytest.raises(OSError, match=r"nowhere\.test"):
        await asking(server).resolve("nowhere.test:1")


async def test_the_system_does_not_tell_how_long_a_name_holds() -> None:
    """So it is asked again soon."""
    found = await Resolver().resolve("localhost:15443")
    assert (socket.AF_INET, ("127.0.0.1", 15443)) in found.places
    assert found.ttl_s == SYSTEM_TTL_S
