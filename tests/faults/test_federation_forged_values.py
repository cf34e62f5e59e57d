"""Somebody writes rubbish straight into etcd: it is refused and named, and the last good value stays in use."""

from __future__ import annotations

import time
from pathlib import Path as FilePath

import pytest

from discovery.model import Port, Protocol, ServiceName
from federation import paths
from federation.values import ExportValue, encode
from tests.etcd_server import EtcdServer
from tests.federation_members import LAYOUT, as_peers, forge, local_service, make_authority, run_member, until

PAY = paths.export(ServiceName("shop", "pay"))


@pytest.mark.parametrize("kind", ["garbage", "tampered", "copied", "rolled back", "foreign key", "misplaced"])
async def test_a_forged_value_is_refused_and_named(tmp_path: FilePath, etcd_server: EtcdServer, kind: str) -> None:
    """Each way to lie in etcd has its own code, and none changes what is believed."""
    authorities = {name: make_authority(tmp_path, name) for name in ("east", "west")}
    peers = as_peers(authorities)
    async with run_member(tmp_path, "east", peers, etcd_server.endpoint) as east:
        async with run_member(
            tmp_path, "west", peers, etcd_server.endpoint, services=(local_service("pay"), local_service("other"))
        ):
            await until(lambda: east.sees("pay", "west") and east.sees("other", "west"))
        # West is gone now, so that it does not put right what is written over its records.
        key = LAYOUT.key("west", PAY)
        kept = await east.etcd.get(key)
        assert kept is not None
        other = await east.etcd.get(LAYOUT.key("west", paths.export(ServiceName("shop", "other"))))
        assert other is not None
        value = encode(ExportValue(ports=(Port("evil", 666, Protocol.TCP),), to=("*",), created=0.0))
        wall = time.time()
        refused_at, raw, code = {
            "garbage": (key, b"\x00\xff not a record", "not-a-record"),
            "tampered": (key, kept.value[:-20] + b"A" * 20, "bad-signature"),
            "copied": (key, other.value, "wrong-path"),
            "rolled back": (
                key,
                forge(authorities["west"], "west", PAY, value, sequence=7, issued_at=wall),
                "rolled-back",
            ),
            "foreign key": (
                key,
                forge(authorities["east"], "west", PAY, value, sequence=2**50, issued_at=wall),
                "unknown-key",
            ),
            "misplaced": (LAYOUT.clusters + b"west/exports/shop", kept.value, "misplaced-key"),
        }[kind]
        await east.etcd.put(refused_at, raw)
        await until(lambda: bool(east.federation.status().peers[0].refusals))
        (refusal,) = east.federation.status().peers[0].refusals
        assert refusal.code == code
        assert refusal.path in refused_at.decode()
        assert east.federation.status().peers[0].refusal_counts == {code: 1}
        assert east.sees("pay", "west")

        await east.etcd.delete(refused_at)
        await until(lambda: not east.federation.status().peers[0].refusals)


async def test_the_owner_puts_right_what_was_written_over_its_record(
    tmp_path: FilePath, etcd_server: EtcdServer
) -> None:
    """Desired state wins: a live owner sees the foreign value under its name, and publishes anew."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)),
    ):
        await until(lambda: east.sees("pay", "west"))
        for path in (PAY, paths.BUNDLE):
            await east.etcd.put(LAYOUT.key("west", path), b"rubbish")
        await until(lambda: sum(east.federation.status().peers[0].refusal_counts.values()) == 2)
        await until(lambda: not east.federation.status().peers[0].refusals)
        assert east.sees("pay", "west")


async def test_a_peer_with_another_root_is_not_believed(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """The pin decides: who writes under a peer's name with a CA of his own is refused from the bundle on."""
    real = make_authority(tmp_path / "real", "west")
    peers = as_peers({"east": make_authority(tmp_path, "east"), "west": real})
    url = etcd_server.endpoint
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path / "impostor", "west", peers, url, services=(local_service("pay"),)),
    ):
        await until(lambda: bool(east.federation.status().peers[0].refusals))
        (refusal,) = east.federation.status().peers[0].refusals
        assert (refusal.path, refusal.code) == ("bundle", "bad-chain")
        assert east.sees("pay")
        assert east.federation.peers()["west"].roots == ()


async def test_who_is_not_a_peer_is_only_named(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Federation is by configuration: an unknown cluster's services do not come in, and its name is shown."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    async with (
        run_member(tmp_path, "east", {}, url) as east,
        run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)),
    ):
        await east.etcd.put(b"/isthmus/v1/acme/clusters/NOT A NAME/x", b"x")
        await until(lambda: east.federation.status().strangers == ("west",))
        await until(lambda: len(east.federation.status().stray_keys) == 1)
        assert east.sees("pay")
