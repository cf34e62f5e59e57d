"""A peer whose own key signs nonsense, and strangers who write anywhere: nothing of it raises."""

from __future__ import annotations

import itertools
import json as standard
from pathlib import Path as FilePath
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.beliefs import Beliefs
from federation.cache import CatalogCache
from federation.paths import BUNDLE, parse_path
from federation.readings import Found
from federation.settings import FederationSettings
from tests.federation_members import LAYOUT, as_peers, forge, make_authority
from trust.authority import Authority
from trust.bundle import encode_bundle

WALL = 1_900_000_000.0
PATHS = (
    "bundle",
    "digests/0",
    "exports/shop/pay",
    "gateways/g1",
    "acks/east",
    "vips/shop/pay",
    "exports/shop",
    "nonsense",
    "",
)

json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        *("ports", "to", "created", "zones", "id", "addresses", "sequence", "records"),
        *("keys", "spiffe_sequence", "name", "port", "use"),
    ]
)
values = st.dictionaries(fields, json | st.lists(st.dictionaries(fields, json, max_size=4), max_size=3), max_size=6)
writes = st.tuples(
    st.sampled_from(["signed", "signed", "raw", "delete"]),
    st.sampled_from(["west", "west", "west", "east", "stranger", "NOT A NAME", ""]),
    st.sampled_from(PATHS),
    values,
    st.binary(max_size=60),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> FilePath:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def authorities(directory: FilePath) -> dict[str, Authority]:
    return {name: make_authority(directory, name) for name in ("east", "west")}


class Reader:
    """East, which believes west's bundle to begin with."""

    def __init__(self, directory: FilePath, authorities: dict[str, Authority]) -> None:
        self.west = authorities["west"]
        peers = {"west": as_peers(authorities)["west"]}
        options = FederationSettings(federation="acme", cluster="east", state_dir=directory, peers=peers)
        cache = CatalogCache(directory / "catalog")
        self.beliefs = Beliefs(options, authorities["east"], "gw-east", cache, 0.0)
        self._revision = itertools.count(1)
        self._sequence = itertools.count(1)
        self.beliefs.listing_began(WALL)
        self.put("west", "bundle", self.sign("west", "bundle", encode_bundle(self.west.bundle(1))))
        self.beliefs.listing_ended(0.0, WALL)

    def sign(self, cluster: str, path: str, value: bytes) -> bytes:
        place = parse_path(path) or BUNDLE
        sequence = next(self._sequence)
        return forge(
            self.west, cluster, place, value, sequence=sequence, issued_at=WALL, signed_path=path, with_chain=True
        )

    def put(self, cluster: str, path: str, raw: bytes) -> None:
        key = LAYOUT.clusters + f"{cluster}/{path}".encode()
        self.beliefs.found(Found(key, raw, 0, next(self._revision)), 0.0, WALL)

    def write(self, kind: str, cluster: str, path: str, value: dict[str, Any], raw: bytes) -> None:
        if kind == "delete":
            self.beliefs.gone(LAYOUT.clusters + f"{cluster}/{path}".encode(), next(self._revision), 0.0, WALL)
        elif kind == "raw":
            self.put(cluster, path, raw)
        else:
            self.put(cluster, path, self.sign(cluster, path, encode(value)))


def encode(value: Any) -> bytes:
    """JSON that may hold integers of any size, which msgspec does not write."""
    return standard.dumps(value).encode()


@settings(max_examples=60)
@given(history=st.lists(writes, max_size=8))
def test_nothing_that_lies_in_etcd_raises(
    directory: FilePath,
    authorities: dict[str, Authority],
    history: list[tuple[str, str, str, dict[str, Any], bytes]],
) -> None:
    """Neither when it is read, nor when it is listed, written to disk, loaded again or shown."""
    reader = Reader(directory, authorities)
    for step in history:
        reader.write(*step)
    beliefs = reader.beliefs
    beliefs.cache.take_pending()
    beliefs.peers.take_changes()
    refusals = beliefs.members["west"].state.refusals.current()
    assert msgspec.json.encode(refusals)
    assert all(refusal.path.isprintable() and refusal.detail.isprintable() for refusal in refusals)
    beliefs.listing_began(WALL)
    beliefs.listing_ended(0.0, WALL)
    beliefs.own.publication.hold(1)
    while batch := beliefs.own.publication.take_due(1.0, WALL):
        beliefs.own.publication.settle(batch, 10**6, 1.0)
        beliefs.written(batch)
