"""A CA of the operator's that is renewed, replaced or spoiled while peers watch: what they go on believing."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from federation.federation import Peer
from federation.jws import parse_header
from federation.paths import BUNDLE
from gateway.trust_keeping.ca_renewal import CaRenewal
from tests.ca_directory import p384, sub_ca, write_ca
from tests.etcd_server import EtcdServer, run_etcd
from tests.federation_members import FederationMember, as_peers, local_service, make_authority, run_member, until
from tests.forge import Forge, p256
from trust.ca_files import CA_FILES, load_ca
from trust.external_authority import ExternalAuthority, load_former
from trust.keys import PrivateKey

EAST = "east.acme.test"


def now() -> datetime:
    return datetime.now(UTC)


def make_root(name: str) -> Forge:
    return Forge.root(name, not_before=now() - timedelta(days=1), not_after=now() + timedelta(days=365))


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with run_etcd(tmp_path / "etcd") as server:
        yield server


class East:
    """A cluster whose CA lies in files, and west, which pinned its root."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = make_root("acme root")
        self.directory = write_ca(tmp_path / "ca", sub_ca(self.root, p256(), now=now()), [self.root])
        self.former = tmp_path / "former-roots.json"
        ca = load_ca(self.directory, EAST, now())
        self.authority = ExternalAuthority(ca, PrivateKey.generate(), svid_lifetime_s=3600, now=now())
        self.west: FederationMember
        self.east: FederationMember
        self.renewal: CaRenewal

    def roots_at_west(self) -> set[bytes]:
        return set(self.west.federation.peers()["east"].roots)


@asynccontextmanager
async def running(tmp_path: Path, etcd: EtcdServer) -> AsyncIterator[East]:
    parts = East(tmp_path)
    west_pin = as_peers({"west": make_authority(tmp_path, "west")})
    east_pin = {"east": Peer(EAST, parts.authority.fingerprint)}
    services = (local_service("pay"),)
    async with (
        run_member(
            tmp_path, "east", west_pin, etcd.endpoint, services=services, authority=parts.authority
        ) as parts.east,
        run_member(tmp_path, "west", east_pin, etcd.endpoint) as parts.west,
    ):
        parts.renewal = CaRenewal(parts.directory, parts.authority, parts.east.federation, parts.former)
        await until(lambda: parts.west.sees("pay", "east"))
        await until(lambda: parts.east.federation.status().peers[0].acknowledged >= 0)
        yield parts


async def test_a_renewed_intermediate_certifies_the_bundle_anew(tmp_path: Path, etcd: EtcdServer) -> None:
    """A cluster that joins after the old intermediate has expired knows nothing but the root: it must find a bundle
    that the new one certifies."""
    async with running(tmp_path, etcd) as parts:
        write_ca(parts.directory, sub_ca(parts.root, p256(), now=now()), [parts.root])
        parts.renewal.look()
        assert parts.renewal.problem == ""
        chain = tuple(parts.authority.record_chain)
        state = parts.west.federation._beliefs.members["east"].state
        await until(lambda: chain_of(parts) == chain)
        assert state.refusals.counts == {}
        assert parts.west.sees("pay", "east")


def chain_of(parts: East) -> tuple[bytes, ...]:
    """What certifies east's bundle, as west holds it."""
    cached = parts.west.federation._beliefs.cache.load()
    records = cached["east"].records if "east" in cached else {}
    return parse_header(records[BUNDLE]).chain_der() if BUNDLE in records else ()


async def test_a_new_root_signs_when_the_peers_have_acknowledged_it(tmp_path: Path, etcd: EtcdServer) -> None:
    """The other order would refuse our gateways at each peer until it has read the bundle."""
    async with running(tmp_path, etcd) as parts:
        new = make_root("new root")
        write_ca(parts.directory, sub_ca(new, p256(), now=now()), [new])
        parts.renewal.look()
        assert parts.authority.waiting is not None
        assert parts.authority.root_der == parts.root.der
        await until(lambda: (parts.renewal.look(), parts.authority.waiting is None)[1])  # type: ignore[func-returns-value]
        assert parts.roots_at_west() == {parts.root.der, new.der}, "west knew it before it signed"
        assert parts.authority.root_der == new.der
        assert [root.der for root in load_former(parts.former)] == [parts.root.der]
        assert parts.west.sees("pay", "east")


async def test_a_new_root_waits_for_who_reads_the_bundle_by_its_url(tmp_path: Path, etcd: EtcdServer) -> None:
    """They come every few minutes, and until then they refuse what the new root certifies."""
    async with running(tmp_path, etcd) as parts:
        renewal = CaRenewal(parts.directory, parts.authority, parts.east.federation, parts.former, readers_s=3.0)
        new = make_root("new root")
        write_ca(parts.directory, sub_ca(new, p256(), now=now()), [new])
        renewal.look()
        await until(lambda: parts.roots_at_west() == {parts.root.der, new.der})
        await until(
            lambda: (
                parts.east.federation.status().peers[0].acknowledged == parts.east.federation.status().bundle_sequence
            )
        )
        offered_at = renewal._offered_at
        await until(lambda: (renewal.look(), parts.authority.waiting is None)[1])  # type: ignore[func-returns-value]
        assert trio.current_time() - offered_at >= 3.0


async def test_a_bad_renewal_is_named_and_the_old_ca_stays(tmp_path: Path, etcd: EtcdServer) -> None:
    """A wrong secret is found at the renewal, not when the last good certificate has run out."""
    async with running(tmp_path, etcd) as parts:
        before = parts.authority.ca
        write_ca(parts.directory, sub_ca(parts.root, p256(), now=now(), life=-timedelta(hours=1)), [parts.root])
        parts.renewal.look()
        assert "expired" in parts.renewal.problem
        assert parts.authority.ca is before
        os.unlink(parts.directory / "tls.key")
        parts.renewal.look()
        assert "incomplete-authority" in parts.renewal.problem
        good = sub_ca(parts.root, p256(), now=now())
        write_ca(parts.directory, good, [parts.root])
        parts.renewal.look()
        assert parts.renewal.problem == ""
        assert parts.authority.ca.intermediates == (good.der,)


async def test_a_ca_that_begins_ahead_of_our_clock_is_taken_when_it_has_begun(tmp_path: Path, etcd: EtcdServer) -> None:
    """cert-manager issues from its own clock's now on, and the files don't change again by themselves."""
    async with running(tmp_path, etcd) as parts:
        before = parts.authority.ca
        young = sub_ca(parts.root, p256(), now=now(), not_before_ago=-timedelta(seconds=2))
        write_ca(parts.directory, young, [parts.root])
        parts.renewal.look()
        assert "not-yet-valid" in parts.renewal.problem
        assert parts.authority.ca is before
        await until(lambda: (parts.renewal.look(), parts.renewal.problem == "")[1])  # type: ignore[func-returns-value]
        assert parts.authority.ca.intermediates == (young.der,)


async def test_a_mounted_secret_that_is_swapped_is_taken(tmp_path: Path, etcd: EtcdServer) -> None:
    """The kubelet writes a new directory and turns one link; the names that the gateway knows stay links to it."""
    mount = tmp_path / "ca"
    async with running(tmp_path, etcd) as parts:
        for number, key in enumerate((p256(), p384())):
            issuer = sub_ca(parts.root, key, now=now())
            write_ca(mount / f"..{number}", issuer, [parts.root])
            (mount / "..data_tmp").symlink_to(f"..{number}")
            os.rename(mount / "..data_tmp", mount / "..data")
            if number == 0:
                # The mount begins: what were files become links through `..data`.
                for file in CA_FILES:
                    (mount / file).unlink()
                    (mount / file).symlink_to(Path("..data") / file)
            else:
                shutil.rmtree(mount / "..0")
            parts.renewal.look()
            assert parts.renewal.problem == ""
            assert parts.authority.ca.intermediates == (issuer.der,)


async def test_a_renewal_between_the_start_and_the_first_look_is_seen(tmp_path: Path, etcd: EtcdServer) -> None:
    """The CA is read before the gateway listens, and followed when it runs."""
    async with running(tmp_path, etcd) as parts:
        issuer = sub_ca(parts.root, p256(), now=now())
        write_ca(parts.directory, issuer, [parts.root])
        late = CaRenewal(parts.directory, parts.authority, parts.east.federation, parts.former)
        late.look()
        assert parts.authority.ca.intermediates == (issuer.der,)


async def test_a_member_that_starts_without_etcd_believes_a_bundle_whose_certifier_has_expired(
    tmp_path: Path, etcd: EtcdServer
) -> None:
    """What certifies a bundle may live for an hour; what was accepted must hold for as long as etcd is away."""
    async with running(tmp_path, etcd) as parts:
        pass
    ahead_s = 400 * 86_400.0
    east_pin = {"east": Peer(EAST, parts.authority.fingerprint)}
    nowhere = "http://127.0.0.1:9"
    async with run_member(tmp_path, "west", east_pin, nowhere, clock_ahead_s=ahead_s) as west:
        assert west.sees("pay", "east")
