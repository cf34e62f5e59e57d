"""Somebody writes rubbish straight into etcd: it is refused and named, and the last good value stays in use."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path as FilePath

import pytest

from discovery.model import Port, Protocol, ServiceName
from federation import paths
from federation.values import ExportValue, encode
from gateway.status.problems import federation_problems
from tests.etcd_server import EtcdServer
from tests.federation_members import LAYOUT, as_peers, forge, local_service, make_authority, run_member, until
from trust.authority import Authority
from trust.bundle import encode_bundle

PAY = paths.export(ServiceName("shop", "pay"))


REFUSED = {
    "garbage": "not-a-record",
    "too large": "too-large",
    "tampered": "bad-signature",
    "foreign key": "unknown-key",
    "another federation's": "wrong-federation",
    "another cluster's": "wrong-cluster",
    "copied": "wrong-path",
    "misplaced": "misplaced-key",
    "replayed": "rolled-back",
    "rolled back": "rolled-back",
    "from the future": "from-the-future",
    "malformed": "malformed-value",
}
"""Ways to lie in etcd, and what each is refused as."""


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_forged_value_is_refused_and_named(tmp_path: FilePath, shared_etcd: EtcdServer, kind: str) -> None:
    """Each way to lie in etcd has its own code, none changes what is believed, and status names the place and why."""
    authorities = {name: make_authority(tmp_path, name) for name in ("east", "west")}
    peers = as_peers(authorities)
    other_name = paths.export(ServiceName("shop", "other"))
    async with run_member(tmp_path, "east", peers, shared_etcd.endpoint) as east:
        async with run_member(
            tmp_path, "west", peers, shared_etcd.endpoint, services=(local_service("pay"), local_service("other"))
        ) as west:
            await until(lambda: east.sees("pay", "west") and east.sees("other", "west"))
            key = LAYOUT.key("west", PAY)
            first = await east.etcd.get(key)
            west.federation.upsert_local(local_service("pay", port=81))
            await until(lambda: east.federation.services()[PAY.service].ports[0].port == 81)
        # West is gone now, so that it does not put right what is written over its records.
        kept, other = await east.etcd.get(key), await east.etcd.get(LAYOUT.key("west", other_name))
        assert first is not None
        assert kept is not None
        assert other is not None
        value = encode(ExportValue(ports=(Port("evil", 666, Protocol.TCP),), to=("*",), created=0.0))
        sign = functools.partial(forge, authorities["west"], sequence=2**50, issued_at=time.time())
        refused_at, raw = {
            "garbage": (key, b"\x00\xff not a record"),
            "too large": (key, kept.value + b"A" * 70_000),
            "tampered": (key, kept.value[:-20] + b"A" * 20),
            "foreign key": (
                key,
                forge(authorities["east"], "west", PAY, value, sequence=2**50, issued_at=time.time()),
            ),
            "another federation's": (key, sign("west", PAY, value, federation="other")),
            "another cluster's": (key, sign("eu", PAY, value)),
            "copied": (key, other.value),
            "misplaced": (LAYOUT.clusters + b"west/exports/shop", kept.value),
            "replayed": (key, first.value),
            "rolled back": (key, sign("west", PAY, value, sequence=7)),
            "from the future": (key, sign("west", PAY, value, issued_at=time.time() + 3_600)),
            "malformed": (key, sign("west", PAY, b'{"ports":"none"}')),
        }[kind]
        await east.etcd.put(refused_at, raw)
        await until(lambda: bool(east.federation.status().peers[0].refusals))
        (refusal,) = east.federation.status().peers[0].refusals
        assert refusal.code == REFUSED[kind]
        assert refusal.path in refused_at.decode()
        assert east.federation.status().peers[0].refusal_counts == {REFUSED[kind]: 1}
        named = [problem for problem in federation_problems(east.federation.status()) if problem.kind == "record"]
        assert [problem.message.startswith(f"{REFUSED[kind]}: ") for problem in named] == [True]
        assert east.sees("pay", "west")
        assert east.federation.services()[PAY.service].ports[0].port == 81
        await east.etcd.delete_prefix(LAYOUT.clusters)


async def test_an_expired_root_vouches_for_nobody(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Also when it is the one that was pinned: its bundle is refused, with the reason, and so nothing else is read."""
    made = datetime.now(UTC) - timedelta(days=4_000)
    expired = Authority.load_or_create(tmp_path / "old" / "west" / "trust", "west.acme.test", made)
    peers = as_peers({"west": expired})
    bundle = encode_bundle(expired.bundle(1))
    sign = functools.partial(forge, expired, "west", sequence=5, issued_at=time.time())
    value = encode(ExportValue(ports=(Port("http", 80, Protocol.HTTP),), to=("*",), created=0.0))
    async with run_member(tmp_path, "east", peers, etcd_server.endpoint) as east:
        await east.etcd.put(LAYOUT.key("west", PAY), sign(PAY, value))
        await east.etcd.put(LAYOUT.key("west", paths.BUNDLE), sign(paths.BUNDLE, bundle, with_chain=True))
        await until(lambda: bool(east.federation.status().peers[0].refusals))
        (refusal,) = east.federation.status().peers[0].refusals
        assert (refusal.path, refusal.code) == ("bundle", "bad-chain")
        assert "expired" in refusal.detail
        assert east.sees("pay")


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
