"""All beliefs together: several members on one make-believe etcd, in virtual time, without any I/O."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path as FilePath

import pytest

from discovery.model import ServiceName
from federation import paths
from federation.beliefs import Beliefs
from federation.cache import CachedCluster, CatalogCache
from federation.etcd.kv import KeyValue
from federation.freshness import Freshness
from federation.publication import PutRecord
from federation.readings import Found
from federation.settings import FederationSettings, Peer
from tests.federation_members import LAYOUT, as_peers, local_service, make_authority
from trust.authority import Authority

PAY = ServiceName("shop", "pay")
WALL = 1_900_000_000.0


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    directory = tmp_path_factory.mktemp("ca")
    return {name: make_authority(directory, name) for name in ("east", "west", "eu")}


class Etcd:
    """Keys, revisions, and readers that see every change at once."""

    def __init__(self) -> None:
        self.kvs: dict[bytes, Found] = {}
        self.revision = 1
        self.readers: list[Beliefs] = []

    def put(self, key: bytes, raw: bytes, lease: int = 0) -> None:
        self.revision += 1
        self.kvs[key] = Found(key, raw, lease, self.revision)
        for reader in self.readers:
            reader.found(self.kvs[key], 0.0, WALL)

    def delete(self, key: bytes) -> None:
        self.revision += 1
        if self.kvs.pop(key, None) is not None:
            for reader in self.readers:
                reader.gone(key, self.revision, 0.0, WALL)

    def list_for(self, reader: Beliefs) -> None:
        reader.listing_began(WALL)
        for key in sorted(self.kvs):
            if self.unknown(reader, key):
                reader.found(self.kvs[key], 0.0, WALL)
        reader.listing_ended(0.0, WALL)
        reader.observe_etcd(True, 0.0, WALL)
        if reader not in self.readers:
            self.readers.append(reader)

    def unknown(self, reader: Beliefs, *keys: bytes) -> list[bytes]:
        """Which of these a listing has to hand to the reader."""
        listed = [self.kvs[key] for key in keys]
        kvs = [KeyValue(found.key, found.raw, 1, found.revision, 1, found.lease) for found in listed]
        return [kv.key for kv in reader.recognition.unknown(kvs)]

    def publish(self, writer: Beliefs) -> None:
        """What the publisher would do, until all is written."""
        publication = writer.own.publication
        publication.hold(1)
        while batch := publication.take_due(100.0, WALL):
            for write in batch:
                key = LAYOUT.key(writer.settings.cluster, write.path)
                if isinstance(write, PutRecord):
                    self.put(key, write.raw, write.lease)
                else:
                    self.delete(key)
            publication.settle(batch, self.revision, 100.0)
            writer.written(batch)
        for claim in writer.addresses.book.take_claims(100):
            self.put(LAYOUT.key(writer.settings.cluster, paths.vip(claim.name)), claim.address.encode())


def make(
    authorities: dict[str, Authority], tmp_path: FilePath, cluster: str, authority: Authority | None = None
) -> Beliefs:
    cache = CatalogCache(tmp_path / cluster / "catalog")
    cached = cache.load()
    beliefs = Beliefs(
        settings(authorities, tmp_path, cluster), authority or authorities[cluster], f"gw-{cluster}", cache, 0.0
    )
    beliefs.restore_own(cached.get(cluster, CachedCluster()))
    return beliefs


def flush(beliefs: Beliefs) -> None:
    beliefs.cache.set_aside()
    beliefs.cache.write()


def settings(authorities: dict[str, Authority], tmp_path: FilePath, cluster: str, **peers: Peer) -> FederationSettings:
    known = peers or {name: peer for name, peer in as_peers(authorities).items() if name != cluster}
    return FederationSettings(federation="acme", cluster=cluster, state_dir=tmp_path / cluster, peers=known)


def join(etcd: Etcd, *members: Beliefs) -> None:
    for member in members:
        member.set_gateway([f"gw.{member.settings.cluster}:15443"], 0.0)
        member.complete_locals()
        etcd.list_for(member)
    for member in members:
        etcd.publish(member)
    for member in members:
        changes = member.peers.take_changes()
        if changes.list_again:
            etcd.list_for(member)
        for cluster in {*changes.bundles, *member.peers.changes.bundles}:
            member.acknowledge(cluster, 0.0)  # As if it were kept on disk by now.
        etcd.publish(member)


def shares(beliefs: Beliefs) -> list[str]:
    view = beliefs.catalog.services.get(PAY)
    return [share.cluster for share in view.exports] if view is not None else []


def test_members_agree_and_acknowledge(authorities: dict[str, Authority], tmp_path: FilePath) -> None:
    """The oldest export first, for every member; each tells the others which bundle it accepted."""
    etcd = Etcd()
    members = [make(authorities, tmp_path, name) for name in ("east", "west", "eu")]
    members[1].upsert_local(local_service("pay"), 0.0, WALL - 100)
    members[2].upsert_local(local_service("pay"), 0.0, WALL - 200)
    join(etcd, *members)
    assert [shares(member) for member in members] == [["eu", "west"]] * 3
    for member in members:
        others = {"east", "west", "eu"} - {member.settings.cluster}
        assert {peer: dict(member.members[peer].state.acks) for peer in others} == {
            peer: dict.fromkeys({"east", "west", "eu"} - {peer}, 1) for peer in others
        }
        assert all(not member.members[peer].state.refusals.counts for peer in others)
        assert set(member.addresses.book.addresses) == {PAY}


def test_a_removed_peer_is_gone_at_once_and_a_new_one_is_listed(
    authorities: dict[str, Authority], tmp_path: FilePath
) -> None:
    """Configuration is the truth: its services go, our acknowledgement to it goes, others stay."""
    etcd = Etcd()
    members = [make(authorities, tmp_path, name) for name in ("east", "west", "eu")]
    for member in members[1:]:
        member.upsert_local(local_service("pay"), 0.0, WALL)
    join(etcd, *members)
    east = members[0]
    east.peers.take_changes()
    peers = as_peers(authorities)
    east.configure(settings(authorities, tmp_path, "east", eu=peers["eu"]), 0.0, WALL)
    assert not east.peers.changes.list_again
    changes = east.peers.take_changes()
    assert changes.peers == {"west"}
    assert changes.services == {PAY}
    assert shares(east) == ["eu"]
    assert "west" not in east.members
    etcd.publish(east)
    assert LAYOUT.key("east", paths.ack("west")) not in etcd.kvs
    # What workers and etcd still say about it means nothing.
    east.peers.observe_link("west", True, 0.0, WALL)
    etcd.delete(LAYOUT.key("west", paths.export(PAY)))

    east.configure(settings(authorities, tmp_path, "east"), 0.0, WALL)
    assert east.peers.changes.list_again == {None}
    etcd.list_for(east)
    assert "west" in east.members
    # Another root under the same name is another peer: nothing of the old one is kept.
    east.peers.take_changes()
    east.configure(settings(authorities, tmp_path, "east", eu=Peer("eu.acme.test", "sha256:0")), 0.0, WALL)
    assert east.peers.changes.list_again == {None}
    assert shares(east) == []


def test_changed_imports_let_in_and_out(authorities: dict[str, Authority], tmp_path: FilePath) -> None:
    etcd = Etcd()
    members = [make(authorities, tmp_path, name) for name in ("east", "west")]
    members[1].upsert_local(local_service("pay"), 0.0, WALL)
    join(etcd, *members)
    east = members[0]
    closed = dataclasses.replace(east.settings, imports={"west": ("web/*",)})
    east.peers.take_changes()
    east.configure(closed, 0.0, WALL)
    assert not east.peers.changes.list_again
    assert shares(east) == []
    assert PAY not in east.addresses.book.addresses
    east.configure(dataclasses.replace(closed, imports={"west": ("shop/p*",)}), 0.0, WALL)
    assert shares(east) == ["west"]
    assert PAY in east.addresses.book.addresses


def test_a_silent_peer_is_stale_then_withdrawn_and_each_step_is_told(
    authorities: dict[str, Authority], tmp_path: FilePath
) -> None:
    """Suspect changes no service; stale and withdrawn do; a word brings everything back."""
    etcd = Etcd()
    east, west = (make(authorities, tmp_path, name) for name in ("east", "west"))
    west.upsert_local(local_service("pay"), 0.0, WALL)
    join(etcd, east, west)
    east.peers.observe_link("west", True, 0.0, WALL)
    east.peers.take_changes()
    etcd.delete(LAYOUT.key("west", paths.gateway("gw-west")))
    east.peers.observe_link("west", False, 10.0, WALL)
    changes = east.peers.take_changes()
    assert [step.after for step in changes.transitions] == ["suspect", "suspect"]
    assert changes.services == set()
    assert east.members.next_deadline() == 30.0  # eu was never heard
    east.peers.tick(40.0, WALL)
    assert [(s.cluster, s.after, s.reason) for s in east.peers.take_changes().transitions if s.cluster == "west"] == [
        ("west", "stale", "stale-after")
    ]
    assert east.catalog.services[PAY].exports[0].freshness is Freshness.STALE
    east.peers.tick(86_410.0, WALL)
    assert east.peers.take_changes().services == {PAY}
    assert shares(east) == []
    east.peers.observe_link("west", True, 86_500.0, WALL)
    assert shares(east) == ["west"]
    assert [step.after for step in east.peers.transitions if step.cluster == "west"][-3:] == [
        "stale",
        "withdrawn",
        "suspect",
    ]


def test_a_restart_goes_on_where_it_was(authorities: dict[str, Authority], tmp_path: FilePath) -> None:
    """From its own journal: virtual IPs, the age of exports, the bundle's sequence; and nothing is written again."""
    etcd = Etcd()
    west = make(authorities, tmp_path, "west")
    west.upsert_local(local_service("pay"), 0.0, WALL)
    join(etcd, west)
    flush(west)
    address = west.addresses.book.addresses[PAY]

    again = make(authorities, tmp_path, "west")
    again.upsert_local(local_service("pay"), 0.0, WALL + 1_000)
    assert again.addresses.book.addresses[PAY] == address
    assert again.catalog.services[PAY].exports[0].created == WALL
    again.set_gateway(["gw.west:15443"], 0.0)
    again.complete_locals()
    etcd.list_for(again)
    again.own.publication.hold(1)
    assert again.own.publication.take_due(200.0, WALL + 1_000) == []
    assert again.own.bundle_sequence == 1


def test_a_bundle_with_other_keys_gets_the_next_sequence(authorities: dict[str, Authority], tmp_path: FilePath) -> None:
    """SPIFFE: the sequence grows with every change, also when only etcd remembers the one before."""
    etcd = Etcd()
    west = make(authorities, tmp_path, "west")
    join(etcd, west)
    rotated = make_authority(tmp_path / "rotated", "west")
    # The same record key, so that what etcd holds is still ours; another root.
    rotated.record_key, rotated.record_chain = authorities["west"].record_key, authorities["west"].record_chain
    again = make(authorities, tmp_path / "new", "west", rotated)
    etcd.list_for(again)
    assert again.own.bundle_sequence == 2
    etcd.list_for(again)
    assert again.own.bundle_sequence == 2


def test_strangers_and_stray_keys_are_named_within_bounds(
    authorities: dict[str, Authority], tmp_path: FilePath
) -> None:
    etcd = Etcd()
    east = make(authorities, tmp_path, "east")
    for number in range(100):
        etcd.put(LAYOUT.clusters + f"stranger{number}/bundle".encode(), b"x")
        etcd.put(LAYOUT.clusters + f"NOT-{number}".encode(), b"x")
        etcd.put(LAYOUT.clusters + f"east/odd{number}".encode(), b"x")
    etcd.put(LAYOUT.clusters + b"west/odd", b"x")
    etcd.list_for(east)
    assert len(east.strangers) == 64
    assert len(east.stray_keys) == 64
    (refusal,) = east.members["west"].state.refusals.current()
    assert refusal.code == "misplaced-key"
    etcd.delete(LAYOUT.clusters + b"west/odd")
    assert east.members["west"].state.refusals.current() == ()


def test_random_order_of_members_and_events_ends_alike(authorities: dict[str, Authority], tmp_path: FilePath) -> None:
    """Three members publish, change and withdraw in shuffled turns; in the end all see the same shares."""
    for seed in range(5):
        rng = random.Random(seed)
        etcd = Etcd()
        members = [make(authorities, tmp_path / str(seed), name) for name in ("east", "west", "eu")]
        join(etcd, *members)
        for _ in range(12):
            member = rng.choice(members)
            if rng.random() < 0.6:
                member.upsert_local(local_service("pay", port=rng.choice([80, 81])), 0.0, WALL + rng.randrange(3))
            else:
                member.remove_local(PAY, 0.0)
            etcd.publish(member)
        views = [member.catalog.services.get(PAY) for member in members]
        assert views[0] == views[1] == views[2]


def test_an_address_that_becomes_free_goes_to_a_service_that_has_none(
    authorities: dict[str, Authority], tmp_path: FilePath
) -> None:
    """Whoever came too late for the range gets the first address that another gives back, and workers hear of it."""
    options = dataclasses.replace(settings(authorities, tmp_path, "east"), vip_range="127.80.0.0/29")
    beliefs = Beliefs(options, authorities["east"], "gw-east", CatalogCache(tmp_path / "few" / "catalog"), 0.0)
    for number in range(6):
        beliefs.upsert_local(local_service(f"s{number}"), 0.0, WALL)
    (late,) = beliefs.addresses.book.exhausted
    beliefs.peers.take_changes()
    beliefs.remove_local(ServiceName("shop", "s0"), 1.0)
    assert beliefs.peers.take_changes().services == {ServiceName("shop", "s0"), late}
    assert late in beliefs.addresses.book.addresses


def restarted(etcd: Etcd, before: Beliefs, authorities: dict[str, Authority], tmp_path: FilePath) -> Beliefs:
    """The same member from its disk, with its peers' bundles remembered, before it has read etcd."""
    flush(before)
    etcd.readers.remove(before)
    cluster = before.settings.cluster
    after = make(authorities, tmp_path, cluster)
    cached = CatalogCache(tmp_path / cluster / "catalog").load()
    for peer in after.members:
        if peer in cached:
            list(after.peers.restore(peer, cached[peer], 0.0, WALL))
    return after


def test_a_listing_after_a_restart_brings_little_news(authorities: dict[str, Authority], tmp_path: FilePath) -> None:
    """Exports and addresses that are on disk as they are in etcd are recognised by their keys and bytes; whatever says
    more than that (bundles, gateways, acknowledgements), is another's, or changed by a byte, is looked at."""
    etcd = Etcd()
    east, west = make(authorities, tmp_path, "east"), make(authorities, tmp_path, "west")
    for number in range(3):
        west.upsert_local(local_service(f"s{number}"), 0.0, WALL - 100)
    join(etcd, west, east)
    again = restarted(etcd, east, authorities, tmp_path)
    assert {name.name for name in again.catalog.services} == {"s0", "s1", "s2"}
    keys = sorted(etcd.kvs)
    export = LAYOUT.key("west", paths.export(ServiceName("shop", "s1")))
    address = LAYOUT.key("east", paths.vip(ServiceName("shop", "s1")))
    known = {*keys} - {*etcd.unknown(again, *keys)}
    assert {export, address} <= known
    assert {key.split(b"/")[-3] for key in known} == {b"exports", b"vips"}
    assert len(known) == 6, "three exports of west, and three addresses of east"
    for key in (export, address):
        good = etcd.kvs[key]
        etcd.kvs[key] = Found(key, good.raw + b"x", 0, good.revision + 1)
        assert etcd.unknown(again, key) == [key]
        etcd.kvs[key] = good
    strange = [LAYOUT.clusters + rest for rest in (b"west", b"nobody/exports/shop/s1", b"\xff/exports/shop/s1")]
    for key in strange:
        etcd.kvs[key] = Found(key, etcd.kvs[export].raw, 0, 1)
    assert etcd.unknown(again, *strange) == strange


def test_what_a_listing_does_not_show_again_is_gone(authorities: dict[str, Authority], tmp_path: FilePath) -> None:
    """Recognised is seen: a restart must neither keep what was withdrawn meanwhile, nor drop what lies there still, nor
    claim addresses anew that etcd holds."""
    etcd = Etcd()
    east, west = make(authorities, tmp_path, "east"), make(authorities, tmp_path, "west")
    for number in range(3):
        west.upsert_local(local_service(f"s{number}"), 0.0, WALL - 100)
    join(etcd, west, east)
    again = restarted(etcd, east, authorities, tmp_path)
    west.remove_local(ServiceName("shop", "s1"), 0.0)
    etcd.publish(west)
    again.complete_locals()
    etcd.list_for(again)
    assert {name.name for name in again.catalog.services} == {"s0", "s2"}
    assert again.addresses.book.take_claims(100) == []
    assert again.addresses.book.take_released(100) == [ServiceName("shop", "s1")]
    assert not again.peers.take_changes().refused


def test_another_cluster_of_our_name_is_named(authorities: dict[str, Authority], tmp_path: FilePath) -> None:
    """Both write at the same places of etcd: without a word about it, each would see nothing but its own come and go.
    It is told once for the log, and stays in status for as long as the other one is registered."""
    etcd = Etcd()
    east = make(authorities, tmp_path, "east")
    join(etcd, east)
    east.peers.take_changes()
    other = make_authority(tmp_path / "other", "east")
    namesake = Beliefs(
        settings(authorities, tmp_path, "east"), other, "gw-other", CatalogCache(tmp_path / "other"), 0.0
    )
    namesake.set_gateway(["10.0.0.9:15443"], 0.0)
    etcd.list_for(namesake)
    namesake.own.publication.hold(9)
    etcd.publish(namesake)
    assert [*east.own.namesakes] == ["gw-other"]
    ((cluster, refused),) = east.peers.take_changes().refused
    assert (cluster, refused.path) == ("east", "gateways/gw-other")
    assert "cluster.name" in refused.detail
    assert not east.own.gateways, "it is none of ours"
    etcd.list_for(east)
    assert [*east.own.namesakes] == ["gw-other"], "it is still there"
    assert not east.peers.take_changes().refused, "and no news"
    etcd.readers.remove(east)
    etcd.delete(LAYOUT.key("east", paths.gateway("gw-other")))
    etcd.list_for(east)
    assert not east.own.namesakes, "it went while we did not look"


def test_an_old_record_of_our_own_gateway_is_no_other_cluster(
    authorities: dict[str, Authority], tmp_path: FilePath
) -> None:
    """An etcd that was restored shows what our second gateway said long ago: nobody has taken our name by that."""
    etcd = Etcd()
    east = make(authorities, tmp_path, "east")
    join(etcd, east)
    second = Beliefs(
        settings(authorities, tmp_path, "east"), authorities["east"], "gw-2", CatalogCache(tmp_path / "second"), 0.0
    )
    second.set_gateway(["10.0.0.2:15443"], 0.0)
    etcd.list_for(second)
    second.own.publication.hold(9)
    etcd.publish(second)
    key = LAYOUT.key("east", paths.gateway("gw-2"))
    old = etcd.kvs[key].raw
    second.set_gateway(["10.0.0.3:15443"], 0.0)
    etcd.publish(second)
    etcd.put(key, old, 9)
    assert not east.own.namesakes
