"""Virtual IPs: unique, stable, within the range."""

from __future__ import annotations

import ipaddress
import random

import pytest

from discovery.errors import DiscoveryError, VipRangeExhausted
from discovery.model import ServiceName
from discovery.vip import VipPool

RANGE = ipaddress.IPv4Network("127.80.0.0/16")
SMALL = ipaddress.IPv4Network("127.80.0.0/29")


def names(count: int) -> list[ServiceName]:
    return [ServiceName("shop", f"service-{number}") for number in range(count)]


def test_an_assigned_address_is_the_same_at_every_call() -> None:
    """Clients cache addresses: the second answer must be the first."""
    pool = VipPool(RANGE, {})
    payments = ServiceName("shop", "payments")
    assert pool.assign(payments) == pool.assign(payments) == pool.assigned[payments]


def test_two_gateways_that_start_empty_agree() -> None:
    """The address follows from the name (a golden value: changing the hash moves every service of every user)."""
    assert VipPool(RANGE, {}).assign(ServiceName("shop", "payments")) == "127.80.32.49"


def test_the_order_of_arrival_hardly_matters() -> None:
    """Only names whose hashes collide may differ between orders."""
    forwards, shuffled = names(500), names(500)
    random.Random(1).shuffle(shuffled)
    first, second = VipPool(RANGE, {}), VipPool(RANGE, {})
    for name in forwards:
        first.assign(name)
    for name in shuffled:
        second.assign(name)
    moved = [name for name in forwards if first.assigned[name] != second.assigned[name]]
    assert len(moved) <= 4


def test_a_small_range_is_used_up_without_its_reserved_addresses() -> None:
    """A /29 has eight addresses; network, first and broadcast are not for services."""
    pool = VipPool(SMALL, {})
    assert {pool.assign(name) for name in names(5)} == {f"127.80.0.{last}" for last in range(2, 7)}


def test_an_exhausted_range_says_how_large_it_was() -> None:
    """The operator must learn which setting to change, and the pool must go on for those it has."""
    pool = VipPool(SMALL, {})
    for name in names(5):
        pool.assign(name)
    with pytest.raises(VipRangeExhausted, match=r"all 5 usable addresses of 127\.80\.0\.0/29.*vip_range") as info:
        pool.assign(ServiceName("shop", "late"))
    assert isinstance(info.value, DiscoveryError)
    assert info.value.code == "vip-range-exhausted"
    pool.release(names(5)[2])
    assert pool.assign(ServiceName("shop", "late")) in {f"127.80.0.{last}" for last in range(2, 7)}


@pytest.mark.parametrize(("prefix", "usable"), [(32, 0), (31, 0), (30, 1)])
def test_tiny_ranges_have_at_most_one_usable_address(prefix: int, usable: int) -> None:
    """No arithmetic surprises where nothing is left between the reserved addresses."""
    pool = VipPool(ipaddress.IPv4Network(f"127.80.0.0/{prefix}"), {})
    assert pool.size == usable
    assert [pool.assign(name) for name in names(usable)] == ["127.80.0.2"][:usable]
    with pytest.raises(VipRangeExhausted):
        pool.assign(ServiceName("shop", "late"))


def test_what_was_assigned_before_is_kept() -> None:
    """A restart reads the assignments back; they hold, even where the hash says otherwise."""
    payments = ServiceName("shop", "payments")
    pool = VipPool(RANGE, {payments: "127.80.7.7"})
    assert pool.assign(payments) == "127.80.7.7"


@pytest.mark.parametrize(
    "stale", ["10.0.0.5", "127.80.0.0", "127.80.0.1", "127.80.255.255", "127.81.0.0", "::1", "nonsense", ""]
)
def test_an_assignment_that_cannot_hold_is_replaced(stale: str) -> None:
    """The range was changed in the configuration, or the record is damaged."""
    payments = ServiceName("shop", "payments")
    pool = VipPool(RANGE, {payments: stale})
    assert dict(pool.assigned) == {}
    assert ipaddress.IPv4Address(pool.assign(payments)) in RANGE


def test_an_address_with_two_owners_stays_with_the_first_name() -> None:
    """Damaged state must not send one service's clients to another."""
    first, second = ServiceName("a", "a"), ServiceName("b", "b")
    pool = VipPool(RANGE, {second: "127.80.7.7", first: "127.80.7.7"})
    assert pool.assign(first) == "127.80.7.7"
    assert pool.assign(second) != "127.80.7.7"


def test_ipv6_ranges_work_alike() -> None:
    """A /64 is too large to count through: assignment must not depend on its size."""
    network = ipaddress.IPv6Network("fd00:80::/64")
    pool = VipPool(network, {})
    addresses = {ipaddress.IPv6Address(pool.assign(name)) for name in names(100)}
    assert len(addresses) == 100
    assert all(address in network for address in addresses)


def test_releasing_what_was_never_assigned_does_nothing() -> None:
    """Removal of a service that we never gave an address is no error."""
    pool = VipPool(RANGE, {})
    pool.release(ServiceName("shop", "payments"))
    assert dict(pool.assigned) == {}
