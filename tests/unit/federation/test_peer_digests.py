"""A peer's digests spare signatures, and nothing else: whatever is wrong with a record or a digest is found as ever."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path as FilePath

import pytest

from discovery.model import Port, Protocol, ServiceName
from federation import paths
from federation.digests import MAX_DIGESTS, hash_of
from federation.errors import RefusalCode
from federation.paths import BUNDLE, Path
from federation.peer_events import Deleted, ExportChanged, ListingBegan, ListingEnded, PeerEvent, Put
from federation.peer_keys import PeerKeys
from federation.peer_state import PeerState
from federation.signatures import check_signatures
from federation.values import DigestValue, ExportValue, encode
from tests.federation_members import forge, make_authority
from trust.authority import Authority
from trust.bundle import encode_bundle

PAY, OLD = ServiceName("shop", "pay"), ServiceName("shop", "old")
EXPORT = ExportValue((Port("http", 80, Protocol.HTTP),), ("*",), 1.0)
DIGEST = paths.digest(0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"), "west")


class West:
    """A reader's view of west during a listing that has shown its bundle."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.state = PeerState("west", "acme", PeerKeys(authority.trust_domain, authority.fingerprint))
        self._sequences: Iterator[int] = itertools.count(1)
        self.now = time.time() + 1
        self.apply(ListingBegan())
        self.apply(Put(BUNDLE, self.sign(BUNDLE, encode_bundle(authority.bundle(1)))))

    def apply(self, event: PeerEvent) -> list[object]:
        return [*self.state.apply(event, self.now)]

    def sign(self, path: Path, value: bytes, authority: Authority | None = None) -> bytes:
        return forge(
            authority or self.authority,
            "west",
            path,
            value,
            sequence=next(self._sequences),
            issued_at=self.now,
            with_chain=path == BUNDLE,
        )

    def export(self, name: ServiceName = PAY) -> bytes:
        return self.sign(paths.export(name), encode(EXPORT))

    def say_digest(self, *records: bytes, authority: Authority | None = None) -> None:
        value = encode(DigestValue(b"".join(map(hash_of, records))))
        self.apply(Put(DIGEST, self.sign(DIGEST, value, authority)))

    def is_vouched_for(self, raw: bytes, name: ServiceName = PAY) -> bool:
        claim = self.state.claim(paths.export(name), raw)
        assert claim is not None, "somebody has to check something"
        return claim.is_vouched_for

    def refused(self) -> list[tuple[str, RefusalCode]]:
        return [(refusal.path, refusal.code) for refusal in self.state.refusals.current()]


@pytest.fixture
def west(authority: Authority) -> West:
    return West(authority)


async def test_what_a_digest_names_is_believed_without_its_signature_being_looked_at(west: West) -> None:
    """Shown by a record whose signature is wrong: nobody but its own cluster could have named it."""
    raw = west.export()[:-8] + b"AAAAAAAA"
    west.say_digest(raw)
    claim = west.state.claim(paths.export(PAY), raw)
    (proof,) = await check_signatures([claim])
    assert ExportChanged(PAY, EXPORT) in west.apply(Put(paths.export(PAY), raw, proof))


def test_another_byte_is_another_record(west: West) -> None:
    good = west.export()
    west.say_digest(good)
    assert west.is_vouched_for(good)
    assert not west.is_vouched_for(good[:-8] + b"AAAAAAAA")
    assert not west.is_vouched_for(west.export())


def test_a_digest_says_nothing_of_where_a_record_lies_and_which_is_the_latest(west: West) -> None:
    """A record that was moved, or brought back from the past, is refused as if no digest named it."""
    before, after = west.export(), west.export()
    west.say_digest(before, after)
    claim = west.state.claim(paths.export(PAY), after)
    assert claim is not None
    for name, raw in ((OLD, after), (PAY, after), (PAY, before)):
        west.apply(Put(paths.export(name), raw, claim.key_id))
    assert west.refused() == [
        ("exports/shop/old", RefusalCode.WRONG_PATH),
        ("exports/shop/pay", RefusalCode.ROLLED_BACK),
    ]


def test_a_digest_that_another_signed_is_refused(west: West, tmp_path: FilePath) -> None:
    """Whoever can write into etcd could vouch for what he likes."""
    raw = west.export()
    west.say_digest(raw, authority=make_authority(tmp_path, "west"))
    assert not west.is_vouched_for(raw)
    assert west.refused() == [("digests/0", RefusalCode.UNKNOWN_KEY)]
    west.apply(Put(DIGEST, west.sign(paths.digest(1), encode(DigestValue(hash_of(raw))))))
    assert not west.is_vouched_for(raw)
    assert west.refused() == [("digests/0", RefusalCode.WRONG_PATH)]
    west.apply(Put(DIGEST, west.sign(DIGEST, b'{"records":"AAAA"}')))
    assert west.refused() == [("digests/0", RefusalCode.MALFORMED_VALUE)]
    west.say_digest(raw)
    assert west.is_vouched_for(raw)
    assert west.refused() == []


def test_a_digest_counts_until_the_listing_ends(west: West) -> None:
    """What comes later has just been signed, and a hundred thousand hashes are not kept for it. A bad digest is named
    all the same, and until it is gone."""
    raw = west.export()
    west.say_digest(raw)
    west.apply(ListingEnded())
    assert not west.is_vouched_for(raw)
    west.say_digest(raw)
    assert not west.is_vouched_for(raw)
    west.apply(Put(DIGEST, b"rubbish"))
    assert west.refused() == [("digests/0", RefusalCode.NOT_A_RECORD)]
    west.apply(Deleted(DIGEST))
    assert west.refused() == []


def test_a_digest_before_the_bundle_is_of_no_use(authority: Authority) -> None:
    """Nobody can tell who signed it, and nothing waits for it."""
    west = West(authority)
    raw = west.sign(DIGEST, encode(DigestValue(b"")))
    nobody = PeerState("west", "acme", PeerKeys(authority.trust_domain, authority.fingerprint))
    nobody.apply(ListingBegan(), west.now)
    assert nobody.apply(Put(DIGEST, raw), west.now) == []
    assert not nobody.refusals
    assert nobody.is_sound


def test_a_listing_that_broke_off_takes_no_room_from_the_next(west: West) -> None:
    """etcd may go away again and again while it is listed: what was read of the digests begins anew each time."""
    raw = west.export()
    for number in range(MAX_DIGESTS):
        path = paths.digest(number)
        west.apply(Put(path, west.sign(path, encode(DigestValue(b"")))))
    west.apply(ListingBegan())
    west.say_digest(raw)
    assert west.refused() == []
    assert west.is_vouched_for(raw)
