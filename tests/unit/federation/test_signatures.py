"""Signatures checked in threads: each is as true or false as where it is taken in, and in its own place."""

from __future__ import annotations

from pathlib import Path as FilePath

import pytest

from discovery.model import ServiceName
from federation import paths
from federation.peer_keys import Claim
from federation.signatures import check_signatures
from tests.federation_members import forge, make_authority
from trust.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"), "west")


def claim(authority: Authority, number: int) -> Claim:
    path = paths.export(ServiceName("shop", f"s{number}"))
    raw = forge(authority, "west", path, b"{}", sequence=number, issued_at=1.0)
    return Claim(raw, authority.record_key.public_key, b"key-%d" % number)


async def test_each_claim_has_its_own_answer(authority: Authority, tmp_path: FilePath) -> None:
    """One that is forged, one by another's key, one that is no record, and places without a claim, among good ones."""
    good = [claim(authority, number) for number in range(7)]
    stranger = make_authority(tmp_path, "eu").record_key.public_key
    bad = [
        Claim(good[0].raw[:-8] + b"AAAAAAAA", good[0].key, b"forged"),
        Claim(good[1].raw, stranger, b"stranger"),
        Claim(b"rubbish", good[0].key, b"rubbish"),
    ]
    claims = [good[0], bad[0], None, *good[1:4], bad[1], *good[4:], bad[2], None]
    proofs = await check_signatures(claims)
    assert proofs == [one.key_id if one is not None and one not in bad else b"" for one in claims]


async def test_nothing_to_check_is_no_work(authority: Authority) -> None:
    assert await check_signatures([]) == []
    assert await check_signatures([None, None]) == [b"", b""]
