"""A reader that misses events, sees forgeries and lists again comes to believe exactly what its peer last said."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path as FilePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from discovery.model import Port, Protocol, ServiceName
from federation import paths
from federation.paths import BUNDLE, Path
from federation.peer_events import Deleted, ListingBegan, ListingEnded, PeerEvent, Put
from federation.peer_keys import PeerKeys
from federation.peer_state import PeerState
from federation.values import ExportValue, encode
from tests.federation_members import forge, make_authority
from trust.authority import Authority
from trust.bundle import encode_bundle

NOW = datetime.now(UTC).timestamp() + 60
NAMES = tuple(ServiceName("shop", name) for name in "ab")
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "forge", "replay", "list", "restart"]),
        st.sampled_from(NAMES),
        st.sampled_from([80, 81]),
        st.booleans(),
    ),
    max_size=15,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    directory: FilePath = tmp_path_factory.mktemp("ca")
    return make_authority(directory, "west")


class World:
    """What lies in etcd, what the peer means, and a reader that sees some of it."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.etcd: dict[Path, bytes] = {}
        self.meant: dict[ServiceName, ExportValue] = {}
        self.said: list[tuple[Path, bytes]] = []
        self._sequence = itertools.count(1)
        self.write(BUNDLE, encode_bundle(authority.bundle(1)), seen=False)
        self.state = self.fresh_state()

    def fresh_state(self) -> PeerState:
        return PeerState("west", "acme", PeerKeys(self.authority.trust_domain, self.authority.fingerprint))

    def tell(self, event: PeerEvent, seen: bool = True) -> None:
        if seen:
            self.state.apply(event, NOW)

    def write(self, path: Path, value: bytes, seen: bool) -> None:
        raw = forge(
            self.authority,
            "west",
            path,
            value,
            sequence=next(self._sequence),
            issued_at=NOW,
            with_chain=path == BUNDLE,
        )
        self.said.append((path, raw))
        self.put(path, raw, seen)

    def put(self, path: Path, raw: bytes, seen: bool) -> None:
        self.etcd[path] = raw
        if seen:
            self.tell(Put(path, raw))

    def list(self) -> None:
        self.tell(ListingBegan())
        for path in sorted(self.etcd, key=lambda path: path != BUNDLE):
            self.tell(Put(path, self.etcd[path]))
        self.tell(ListingEnded())

    def step(self, kind: str, name: ServiceName, port: int, seen: bool) -> None:
        path = paths.export(name)
        match kind:
            case "put":
                value = ExportValue((Port("http", port, Protocol.HTTP),), ("*",), 1.0)
                self.meant[name] = value
                self.write(path, encode(value), seen)
            case "delete":
                self.meant.pop(name, None)
                if self.etcd.pop(path, None) is not None:
                    self.tell(Deleted(path), seen)
            case "forge":
                self.put(path, b"rubbish", seen)
            case "replay":
                older = [raw for place, raw in self.said if place == path]
                if older:
                    self.put(path, older[0], seen)
            case "list":
                self.list()
            case "restart":
                # A reader that lost its memory and its disk.
                self.state = self.fresh_state()
                self.list()

    def repair(self) -> None:
        """The owner sees what was written over its records, and publishes anew; then the reader lists."""
        for name in NAMES:
            path = paths.export(name)
            if name in self.meant:
                self.write(path, encode(self.meant[name]), seen=False)
            else:
                self.etcd.pop(path, None)
        self.list()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=steps)
def test_after_a_listing_the_reader_believes_what_the_peer_means(
    authority: Authority, history: list[tuple[str, ServiceName, int, bool]]
) -> None:
    """Whatever came between. Nothing forged is ever believed, at any moment, and nothing stays refused."""
    world = World(authority)
    world.list()
    for step in history:
        world.step(*step)
        assert all(value.created == 1.0 for value in world.state.exports.values())
    world.repair()
    assert dict(world.state.exports) == world.meant
    assert world.state.refusals.current() == ()
