"""A cluster leaves while a peer can't see etcd: the peer withdraws as soon as it can, and not a day later."""

from __future__ import annotations

import time
from pathlib import Path as FilePath

import msgspec

from federation.leaving import make_farewell, withdraw
from federation.paths import BUNDLE, Kind
from federation.record import peek_value, sign_record
from tests.etcd_server import EtcdServer
from tests.federation_members import LAYOUT, as_peers, local_service, make_authority, run_member, until


async def test_a_peer_that_was_away_hears_the_goodbye(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """It had the catalog on its disk, where it would be believed for a day; and the cluster can come back."""
    authorities = {name: make_authority(tmp_path, name) for name in ("east", "west")}
    peers, url = as_peers(authorities), etcd_server.endpoint
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)),
    ):
        await until(lambda: east.sees("pay", "west"))
    async with run_member(tmp_path, "other", {}, url) as other:
        gone = await withdraw(other.etcd, LAYOUT, "west", authorities["west"], lease_s=15.0, now=time.time())
        assert gone[Kind.EXPORT] == 1
        (left,) = (await other.etcd.read_prefix(LAYOUT.clusters + b"west/")).kvs
        assert left.lease
        assert [key["use"] for key in msgspec.json.decode(peek_value(left.value))["keys"]] == ["x509-svid"]
        again = await withdraw(other.etcd, LAYOUT, "west", authorities["west"], lease_s=15.0, now=time.time())
        assert not again
    async with run_member(tmp_path, "east", peers, url) as east:
        await until(lambda: east.federation.status().etcd.synced and east.sees("pay"))
        async with run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)):
            await until(lambda: east.sees("pay", "west"))
            assert east.federation.peers()["west"].roots == (authorities["west"].root_der,)


def test_nobody_says_goodbye_for_another(tmp_path: FilePath) -> None:
    """What lies there as a bundle and is not ours is answered with nothing."""
    west, eu = make_authority(tmp_path, "west"), make_authority(tmp_path, "eu")
    raw = sign_record(
        b"{}",
        federation="acme",
        cluster="west",
        path=str(BUNDLE),
        sequence=1,
        issued_at=time.time(),
        key=eu.record_key,
        kid="k",
        chain=eu.record_chain,
    )
    assert make_farewell(raw, "acme", "west", west, time.time()) is None
    assert make_farewell(b"rubbish", "acme", "west", west, time.time()) is None
