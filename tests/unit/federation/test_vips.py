"""Virtual IPs agreed through etcd: assigned at once, the first writer wins, nothing moves without need."""

from __future__ import annotations

from discovery.model import ServiceName
from federation.vips import VipBook, VipClaim

A, B, C = (ServiceName("shop", name) for name in "abc")
RANGE = "127.80.0.0/24"


def test_an_address_is_there_at_once_and_claimed_later() -> None:
    book = VipBook(RANGE)
    assert book.need(A)
    assert not book.need(A)
    address = book.addresses[A]
    assert book.take_claims(10) == [VipClaim(A, address, 0)]
    assert book.take_claims(10) == []
    assert book.found(A, address, 5) == set()
    assert book.addresses[A] == address


def test_what_etcd_holds_wins_over_what_we_chose() -> None:
    """Another gateway of ours was first: we follow, and say whose address changed."""
    book = VipBook(RANGE)
    book.need(A)
    book.need(B)
    other = next(f"127.80.0.{n}" for n in range(10, 20) if f"127.80.0.{n}" not in book.addresses.values())
    before = book.addresses[B]
    assert book.found(A, other, 5) == {A}
    assert book.addresses[A] == other
    assert book.addresses[B] == before
    assert [claim.name for claim in book.take_claims(10)] == [B]


def test_a_name_that_only_others_need_keeps_its_address_for_when_we_do() -> None:
    book = VipBook(RANGE)
    book.found(A, "127.80.0.77", 5)
    book.need(A)
    assert book.addresses[A] == "127.80.0.77"
    assert book.take_claims(10) == []


def test_two_names_on_one_address_are_put_right_once() -> None:
    """Both gateways see both keys, decide alike, and whoever is first corrects the loser; nobody goes on correcting."""
    book = VipBook(RANGE)
    book.need(A)
    book.need(B)
    book.take_claims(10)
    shared = book.addresses[A]
    book.found(A, shared, 5)
    book.found(B, shared, 6)
    assert book.addresses[A] == shared
    assert book.addresses[B] != shared
    (claim,) = book.take_claims(10)
    assert claim == VipClaim(B, book.addresses[B], 6)
    book.found(B, shared, 7)
    assert book.take_claims(10) == []


def test_rubbish_in_etcd_is_replaced() -> None:
    """It is unsigned, so anything may be there: it never becomes an address."""
    book = VipBook(RANGE)
    book.need(A)
    address = book.addresses[A]
    book.take_claims(10)
    for number, rubbish in enumerate(("", "not an address", "8.8.8.8", "::1"), 5):
        assert book.found(A, rubbish, number) == set()
    assert book.addresses[A] == address
    assert book.take_claims(10) == [VipClaim(A, address, 8)]


def test_a_released_address_is_deleted_and_free() -> None:
    book = VipBook(RANGE)
    book.need(A)
    book.found(A, book.addresses[A], 5)
    book.release(A)
    assert A not in book.addresses
    assert book.take_released(10) == [A]
    book.missing(A)
    assert book.take_claims(10) == []


def test_a_deleted_key_that_we_need_is_claimed_again() -> None:
    book = VipBook(RANGE)
    book.need(A)
    address = book.addresses[A]
    book.take_claims(10)
    book.found(A, address, 5)
    book.missing(A)
    assert book.take_claims(10) == [VipClaim(A, address, 0)]


def test_a_listing_that_does_not_show_it_means_the_same() -> None:
    book = VipBook(RANGE)
    book.need(A)
    book.need(B)
    book.take_claims(10)
    for name in (A, B):
        book.found(name, book.addresses[name], 5)
    book.begin_listing()
    # The revisions of a replaced etcd are low again.
    book.found(A, book.addresses[A], 2)
    book.end_listing()
    assert [claim.name for claim in book.take_claims(10)] == [B]


def test_what_failed_is_tried_again_while_it_makes_sense() -> None:
    book = VipBook(RANGE)
    book.need(A)
    book.need(B)
    claims = book.take_claims(10)
    book.release(B)
    book.fail(claims, [C])
    assert [claim.name for claim in book.take_claims(10)] == [A]
    assert book.take_released(10) == [C]


def test_leftovers_are_released_when_the_catalog_is_complete() -> None:
    book = VipBook(RANGE)
    book.found(A, "127.80.0.5", 1)
    book.found(B, "127.80.0.6", 1)
    book.need(B)
    book.release_unneeded()
    assert book.take_released(10) == [A]
    assert set(book.addresses) == {B}


def test_a_range_that_is_used_up_is_named() -> None:
    """No address is no reason to fail: the service works by its name through the HTTP listener."""
    book = VipBook("127.80.0.0/29")
    names = [ServiceName("shop", f"s{number}") for number in range(6)]
    for name in names:
        book.need(name)
    assert book.exhausted == {names[5]}
    assert names[5] not in book.addresses
    book.release(names[0])
    assert book.need(names[5])
    assert not book.exhausted


def test_the_disk_keeps_addresses_over_a_restart() -> None:
    book = VipBook(RANGE)
    book.restore({A: "127.80.0.99"}, {})
    assert not book.need(A)
    assert book.addresses[A] == "127.80.0.99"
    assert book.take_claims(10) == [VipClaim(A, "127.80.0.99", 0)]
