"""The sockets of virtual IPs follow the catalog, many services at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from discovery.model import Port, Protocol, ServiceName
from gateway.control import ListenerSpec
from gateway.controller.vip_listeners import VipListeners
from gateway.snapshot import ServiceResource
from gateway.transport.listeners import Listeners
from tests.ports import free_port

A, B = ServiceName("shop", "a"), ServiceName("shop", "b")


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    listeners = Listeners(2)
    yield listeners
    listeners.close_all()


def service(name: ServiceName, address: str, port: int) -> ServiceResource:
    return ServiceResource(name, address, (Port("http", port, Protocol.HTTP),))


def test_an_address_that_moves_is_closed_before_it_is_opened(listeners: Listeners) -> None:
    """Two services swap what they have: neither finds it taken by the other, in whatever order they are named."""
    vips, port = VipListeners(listeners), free_port()
    first = {A: service(A, "127.0.0.1", port), B: service(B, "127.0.0.2", port)}
    assert vips.follow(first) == ([], ["vip/shop/a/http", "vip/shop/b/http"])
    assert vips.follow(first) == ([], []), "nothing changed"
    swapped = {A: service(A, "127.0.0.2", port), B: service(B, "127.0.0.1", port)}
    both = ["vip/shop/a/http", "vip/shop/b/http"]
    assert vips.follow(swapped) == (both, both)
    assert listeners.problems == {}
    assert listeners.address("vip/shop/a/http") == f"127.0.0.2:{port}"
    assert vips.follow({A: None, B: service(B, "", port)}) == (both, [])
    assert listeners.sockets == {}
    assert vips.follow({A: None}) == ([], []), "it was gone already"


def test_what_nobody_needs_is_left_over(listeners: Listeners) -> None:
    """An earlier controller's sockets of services that are gone; those of services that are there stay, as do those
    that wait for room or can't be opened, which are no sockets."""
    vips, port = VipListeners(listeners), free_port()
    listeners.open(ListenerSpec("vip/shop/gone/http", "vip", "127.0.0.3:0"))
    assert vips.follow({A: service(A, "127.0.0.1", port), B: service(B, "127.0.0.2", port)})[1] == ["vip/shop/a/http"]
    assert vips.left_over() == ["vip/shop/gone/http"]
