"""Digests: what they vouch for, and when our own are worth saying anew."""

from __future__ import annotations

import pytest

from discovery.model import ServiceName
from federation import paths
from federation.digests import MAX_DIGESTS, WORTH_SAYING, OwnDigests, Vouched, hash_of
from federation.errors import RecordRefused, RefusalCode
from federation.paths import Path
from federation.values import MAX_DIGESTED, DigestValue, encode, parse_digest

KEY, OTHER_KEY = b"key", b"other key"


def export(number: int) -> Path:
    return paths.export(ServiceName("shop", f"s{number}"))


def raw(number: int, version: int = 1) -> bytes:
    return b"record %d.%d" % (number, version)


def digest_value(*records: bytes) -> bytes:
    return encode(DigestValue(b"".join(map(hash_of, records))))


def filled(count: int) -> OwnDigests:
    own = OwnDigests()
    for number in range(count):
        own.put(export(number), raw(number))
    return own


def said(due: dict[Path, bytes | None]) -> set[bytes]:
    """The hashes in what is due."""
    return {made for value in due.values() if value is not None for made in parse_digest(value)}


def test_a_digest_vouches_for_what_it_names_under_its_own_key() -> None:
    """A key that somebody stole, or that was retired, must not speak for another's records."""
    vouched = Vouched()
    vouched.take(KEY, digest_value(raw(1), raw(2)))
    assert vouched.has(KEY, raw(1))
    assert vouched.has(KEY, raw(2))
    assert not vouched.has(KEY, raw(3))
    assert not vouched.has(OTHER_KEY, raw(1))


@pytest.mark.parametrize(
    "value",
    [b"{}", b"[]", b'{"records":"?"}', b'{"records":"AAAA"}', digest_value(*map(raw, range(MAX_DIGESTED + 1)))],
)
def test_what_is_no_digest_is_refused(value: bytes) -> None:
    """Not even part of it is taken, and the record is named in status."""
    with pytest.raises(RecordRefused) as refused:
        Vouched().take(KEY, value)
    assert refused.value.code is RefusalCode.MALFORMED_VALUE


def test_a_peer_can_fill_only_so_much_memory() -> None:
    """A hostile peer may write as many digests as etcd takes."""
    vouched = Vouched()
    for number in range(MAX_DIGESTS):
        vouched.take(KEY, digest_value(raw(number)))
    with pytest.raises(RecordRefused) as refused:
        vouched.take(KEY, digest_value(raw(MAX_DIGESTS)))
    assert refused.value.code is RefusalCode.TOO_LARGE
    assert not vouched.has(KEY, raw(MAX_DIGESTS))


def test_a_small_catalog_has_no_digest() -> None:
    """It would be one signature more to check, not fewer."""
    own = filled(WORTH_SAYING - 1)
    assert own.take_due() == {}
    own.put(export(WORTH_SAYING), raw(WORTH_SAYING))
    assert own.take_due().keys() == {paths.digest(0)}
    assert own.take_due() == {}


def test_a_large_catalog_is_named_as_a_whole() -> None:
    """In as many digests as fit into a record each."""
    due = (own := filled(5_000)).take_due()
    assert said(due) == {hash_of(raw(number)) for number in range(5_000)}
    assert len(due) == 8
    assert own.take_due() == {}


def test_a_digest_is_said_anew_when_a_quarter_of_it_is_out_of_date() -> None:
    """One that changes again and again is one signature to check, however often it changed; so is one that came back
    to what is named nothing at all."""
    own = filled(400)
    own.take_due()
    for number in range(99):
        own.put(export(number), raw(number, 2))
        own.put(export(number), raw(number, 3))
    own.put(export(99), raw(99, 2))
    own.put(export(99), raw(99))
    assert own.take_due() == {}
    own.put(export(100), raw(100, 2))
    assert hash_of(raw(100, 2)) in said(own.take_due())


def test_after_a_restart_what_lies_in_etcd_stays() -> None:
    """A listing shows the digests before the exports that they name."""
    before = filled(3_000).take_due()
    own = OwnDigests()
    for path, value in before.items():
        assert value is not None
        assert own.found(path, value)
    for number in range(3_000):
        own.put(export(number), raw(number))
    assert own.take_due() == {}


def test_a_digest_of_another_gateway_counts_as_ours() -> None:
    """Two gateways of a cluster see the same exports in etcd: one of them has to say it."""
    theirs = filled(1_000).take_due()
    own = filled(1_000)
    for path, value in theirs.items():
        assert value is not None
        own.found(path, value)
    assert own.take_due() == {}


def test_more_digests_than_ours_are_joined() -> None:
    """Gateways that disagreed on how many there are would write against each other."""
    own = filled(100)
    assert own.found(paths.digest(3), digest_value(raw(1)))
    assert set(own.take_due()) <= {paths.digest(number) for number in range(4)}
    assert not own.found(paths.digest(MAX_DIGESTS), digest_value(raw(1)))
    assert not own.found(Path(paths.Kind.DIGEST, ("first",)), digest_value(raw(1)))
    assert not own.found(paths.digest(0), b"rubbish")


def test_a_digest_that_names_nothing_any_more_is_deleted() -> None:
    """A cluster that withdrew its exports leaves nothing behind."""
    own = filled(100)
    own.take_due()
    for number in range(100):
        own.drop(export(number))
    assert own.take_due() == {paths.digest(0): None}
    assert own.take_due() == {}


def test_a_digest_whose_exports_went_while_we_were_away_is_deleted() -> None:
    """etcd shows it, and nothing that it could name."""
    own = OwnDigests()
    own.begin_listing()
    own.found(paths.digest(0), digest_value(raw(1)))
    own.end_listing()
    assert own.take_due() == {paths.digest(0): None}


def test_what_was_said_counts_for_nothing_in_an_etcd_that_lost_it() -> None:
    """A listing begins: what it does not show is said again."""
    own = filled(100)
    own.take_due()
    own.begin_listing()
    for number in range(100):
        own.put(export(number), raw(number))
    own.end_listing()
    assert said(own.take_due()) == {hash_of(raw(number)) for number in range(100)}


def test_nothing_is_said_of_a_listing_that_is_not_whole() -> None:
    """What is written goes on while etcd is listed again, for a new peer. A digest of the first 64 that a listing shows
    would leave the next 36 unnamed for good: they are too few to say another."""
    own = filled(100)
    own.begin_listing()
    for number in range(WORTH_SAYING):
        own.put(export(number), raw(number))
    assert own.take_due() == {}
    for number in range(WORTH_SAYING, 100):
        own.put(export(number), raw(number))
    assert own.take_due() == {}
    own.end_listing()
    assert said(own.take_due()) == {hash_of(raw(number)) for number in range(100)}


def test_a_digest_is_not_deleted_because_a_listing_shows_it_first() -> None:
    """Its exports come after it, one page later perhaps."""
    before = filled(100).take_due()
    own = OwnDigests()
    own.begin_listing()
    for path, value in before.items():
        assert value is not None
        own.found(path, value)
    assert own.take_due() == {}
    for number in range(100):
        own.put(export(number), raw(number))
    own.end_listing()
    assert own.take_due() == {}
