"""A cluster with many exports says digests of them; who reads them for the first time rests on those, and no others."""

from __future__ import annotations

import time
from pathlib import Path as FilePath

import trio

from discovery.model import ServiceName
from federation import paths
from federation.digests import WORTH_SAYING, hash_of
from federation.etcd.client import EtcdClient
from federation.etcd.kv import KeyValue
from federation.record import peek_value
from federation.values import DigestValue, encode, parse_digest
from tests.etcd_server import EtcdServer
from tests.federation_members import LAYOUT, as_peers, forge, local_service, make_authority, run_member, until

COUNT = WORTH_SAYING + 36
DIGEST = paths.digest(0)
EXPORTS = LAYOUT.clusters + b"west/exports/"


async def digest_of_all(etcd: EtcdClient) -> KeyValue:
    """West's digest, as soon as it names all of west's exports as they lie in etcd."""
    with trio.fail_after(30.0):
        while True:
            found = await etcd.get(LAYOUT.key("west", DIGEST))
            lies = {hash_of(kv.value) for kv in (await etcd.read_prefix(EXPORTS)).kvs}
            if found is not None and set(parse_digest(peek_value(found.value))) == lies:
                return found
            await trio.sleep(0.05)


async def test_a_catalog_is_read_by_its_digest(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """West names all that it exports, though it may list etcd twice while it writes (east's bundle comes last); and it
    has nothing to add when it starts again. Then a record whose signature is wrong is named under west's own key: that
    a newcomer believes it shows that nobody looked. One that no digest names is refused."""
    authorities = {name: make_authority(tmp_path, name) for name in ("east", "west", "eu")}
    peers, url = as_peers(authorities), etcd_server.endpoint
    services = tuple(local_service(f"s{number}") for number in range(COUNT))
    async with run_member(tmp_path, "east", peers, url) as east:
        async with run_member(tmp_path, "west", peers, url, services=services):
            await until(lambda: all(east.sees(f"s{number}", "west") for number in range(COUNT)))
            await digest_of_all(east.etcd)
        before = await digest_of_all(east.etcd)
        async with run_member(tmp_path, "west", peers, url, services=services) as west:
            await until(lambda: west.federation.status().etcd.synced)
            west.federation.upsert_local(local_service("later"))  # What came of the listing is written by then.
            await until(lambda: east.sees("later", "west"))
            assert await east.etcd.get(before.key) == before
        named, unnamed = (LAYOUT.key("west", paths.export(ServiceName("shop", name))) for name in ("s1", "s2"))
        for key in (named, unnamed):
            kept = await east.etcd.get(key)
            assert kept is not None
            await east.etcd.put(key, kept.value[:-8] + b"AAAAAAAA")
        lies = [kv for kv in (await east.etcd.read_prefix(EXPORTS)).kvs if kv.key != unnamed]
        value = encode(DigestValue(b"".join(hash_of(kv.value) for kv in lies)))
        forged = forge(authorities["west"], "west", DIGEST, value, sequence=2**50, issued_at=time.time())
        await east.etcd.put(LAYOUT.key("west", DIGEST), forged)
    async with run_member(tmp_path, "eu", peers, url) as eu:
        await until(lambda: eu.sees(f"s{COUNT - 1}", "west"))
        await until(lambda: eu.federation.status().etcd.synced)
        assert eu.sees("s1", "west")
        assert eu.sees("s2")
        (of_west,) = (peer for peer in eu.federation.status().peers if peer.cluster == "west")
        assert [(refusal.path, refusal.code) for refusal in of_west.refusals] == [("exports/shop/s2", "bad-signature")]
