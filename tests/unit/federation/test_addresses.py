"""Addresses as the disk has them: whether it says of each what etcd holds, on which a bookmark rests."""

from __future__ import annotations

from pathlib import Path as FilePath

import pytest

from discovery.model import LocalService, Port, Protocol, ServiceName
from federation import paths
from federation.addresses import ServiceAddresses
from federation.cache import CatalogCache
from federation.catalog import Catalog
from federation.imports import ImportPolicy
from federation.journal import Entry
from federation.vips import VipBook

A, B = ServiceName("shop", "a"), ServiceName("shop", "b")
FAR = "10.9.8.7"
"""Outside the range, as a gateway with another range would write it."""


class Parts:
    """East's addresses, with services of its own that need them."""

    def __init__(self, directory: FilePath, *services: ServiceName) -> None:
        self.cache = CatalogCache(directory)
        self.cache.load()
        self.book = VipBook("127.80.0.0/24")
        self.catalog = Catalog("east", ImportPolicy(None))
        self.addresses = ServiceAddresses("east", self.book, self.catalog, self.cache)
        for name in services:
            service = LocalService(name, (Port("http", 80, Protocol.HTTP),), ())
            self.addresses.follow(self.catalog.apply_local(service, (), None))

    def settled(self) -> bool:
        return self.addresses.is_settled

    def kept(self, name: ServiceName) -> Entry | None:
        """As the disk gets it."""
        (batch,) = self.cache.take_pending()
        return batch.entries.get(paths.vip(name))


@pytest.fixture
def parts(tmp_path: FilePath) -> Parts:
    return Parts(tmp_path, A, B)


def test_an_address_that_etcd_does_not_have_is_kept_as_such(parts: Parts) -> None:
    """Chosen here, and not written yet: the disk says so, there is nothing to wait for."""
    assert parts.settled()
    assert parts.kept(A) == Entry(parts.book.addresses[A].encode(), b"", -1)


def test_an_address_that_etcd_has_is_kept_with_its_revision(parts: Parts) -> None:
    """Ours, or that of another gateway that was first."""
    parts.addresses.found(A, parts.book.addresses[A], 5)
    parts.addresses.found(B, "127.80.0.77", 6)
    assert parts.settled()
    (batch,) = parts.cache.take_pending()
    assert batch.entries[paths.vip(A)].sequence == 5
    assert batch.entries[paths.vip(B)] == Entry(b"127.80.0.77", b"", 6)


def test_what_can_not_hold_is_unsettled_until_it_is_replaced(parts: Parts) -> None:
    """The disk has our address, etcd another: a start that went by the disk would take etcd to have none, count one key
    less, or never mend the other. It is the same if the correction that etcd shows next is no better."""
    ours = parts.book.addresses[A]
    parts.addresses.found(A, FAR, 5)
    assert not parts.settled()
    assert parts.kept(A) == Entry(ours.encode(), b"", -1)
    parts.addresses.found(A, "rubbish", 6)
    assert not parts.settled()
    parts.addresses.found(A, ours, 7)
    assert parts.settled()
    assert parts.kept(A) == Entry(ours.encode(), b"", 7)


def test_two_names_on_one_address_are_unsettled_until_one_has_another(parts: Parts) -> None:
    """Whoever loses has an address here that etcd does not have for it."""
    parts.addresses.found(A, "127.80.0.77", 5)
    parts.addresses.found(B, "127.80.0.77", 6)
    assert not parts.settled()
    (claim,) = parts.book.take_claims(10)
    parts.addresses.found(claim.name, claim.address, 7)
    assert parts.settled()


def test_one_that_can_not_hold_and_goes_is_settled(parts: Parts) -> None:
    """Deleted in etcd: neither has one that the other does not know of."""
    parts.addresses.found(A, FAR, 5)
    parts.addresses.gone(A)
    assert parts.settled()


def test_a_listing_that_does_not_show_it_settles_it(parts: Parts) -> None:
    """It went while we did not look."""
    parts.addresses.found(A, FAR, 5)
    parts.book.begin_listing()
    parts.addresses.end_listing()
    assert parts.settled()


def test_an_address_that_is_given_back_is_unsettled_until_etcd_has_none(parts: Parts) -> None:
    """The disk forgets it when its service goes, and its key is deleted a little later: between the two, etcd has one
    key more than the disk knows of."""
    parts.addresses.found(A, parts.book.addresses[A], 5)
    parts.addresses.follow(parts.catalog.remove_local(A))
    assert not parts.settled()
    assert parts.book.take_released(10) == [A]
    assert not parts.settled()
    parts.addresses.gone(A)
    assert parts.settled()


def test_what_is_left_over_for_a_name_that_nobody_has_is_unsettled_if_it_can_not_hold(parts: Parts) -> None:
    """Of a service that went before we started; one that can hold is kept on disk as it is."""
    left_over = ServiceName("shop", "left-over")
    parts.addresses.found(left_over, "127.80.0.99", 5)
    assert parts.settled()
    parts.addresses.found(left_over, FAR, 6)
    assert not parts.settled()
    parts.addresses.release_unneeded()
    parts.addresses.gone(left_over)
    assert parts.settled()
