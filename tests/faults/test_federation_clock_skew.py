"""Clocks of two clusters are minutes apart: reported with its size, tolerated within bounds."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path as FilePath

import pytest
import trio

from discovery.model import ServiceName
from federation.freshness import Freshness
from federation.paths import BUNDLE
from federation.record import MAX_SKEW_S
from federation.report import PeerStatus
from gateway.status.problems import clock_problems
from tests.etcd_server import EtcdServer
from tests.federation_members import (
    LAYOUT,
    FederationMember,
    as_peers,
    local_service,
    make_authority,
    run_member,
    until,
)
from trust.authority import Authority
from trust.errors import PeerRejected
from trust.keys import PrivateKey
from trust.svid import make_signing_request, svid_from
from trust.verify import validate_gateway

FIVE_MINUTES_S = 300.0


def only_peer(member: FederationMember) -> PeerStatus:
    (peer,) = member.federation.status().peers
    return peer


@pytest.mark.parametrize("ahead_s", [FIVE_MINUTES_S, -FIVE_MINUTES_S])
async def test_five_minutes_are_tolerated_and_told(tmp_path: FilePath, etcd_server: EtcdServer, ahead_s: float) -> None:
    """Whichever of the two is ahead: joining, changing, withdrawing and leases work, each sees the other's clock by the
    first record that is new, and a person is told in whole seconds."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    services = (local_service("pay"),)
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "west", peers, url, services=services, clock_ahead_s=ahead_s) as west,
    ):
        await until(lambda: east.sees("pay", "west") and west.sees("pay", "west"))
        await until(lambda: only_peer(east).freshness is only_peer(west).freshness is Freshness.FRESH)
        await until(lambda: only_peer(east).acknowledged == only_peer(west).acknowledged == 1)
        west.federation.upsert_local(local_service("pay", port=81))
        east.federation.upsert_local(local_service("cart"))
        await until(lambda: west.sees("cart", "east"))
        await until(lambda: east.federation.services()[ServiceName("shop", "pay")].ports[0].port == 81)
        for member, expected_s in ((east, ahead_s), (west, -ahead_s)):
            skew_s = only_peer(member).clock_skew_s
            assert skew_s is not None
            # A record needs some time to arrive, and looks a little older than it is.
            assert expected_s - 3 < skew_s <= expected_s + 0.01
            assert only_peer(member).refusals == ()
            (problem,) = clock_problems([only_peer(member)])
            assert problem.subject == only_peer(member).cluster
            assert ("ahead of ours" in problem.message) == (expected_s > 0)
        west.federation.remove_local(ServiceName("shop", "pay"))
        await until(lambda: east.sees("pay"))


async def test_good_clocks_are_no_problem(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Nor are old records: who joins a federation of long ago does not take its age for skew."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    # West wrote an hour ago, by its clock of then, and is not there now.
    async with run_member(tmp_path, "west", peers, url, services=(local_service("pay"),), clock_ahead_s=-3600) as west:
        # The bundle is written last.
        while await west.etcd.get(LAYOUT.key("west", BUNDLE)) is None:
            await trio.sleep(0.01)
    async with run_member(tmp_path, "east", peers, url) as east:
        await until(lambda: east.sees("pay", "west"))
        assert only_peer(east).clock_skew_s is None
        async with run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)):
            await until(lambda: only_peer(east).clock_skew_s is not None)
            assert [*clock_problems([only_peer(east)])] == []


async def test_records_from_beyond_the_bound_are_refused(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Else a cluster whose clock once went wrong could never be corrected: all that it says later would look older."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    ahead_s = MAX_SKEW_S + 30
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "west", peers, url, services=(local_service("pay"),), clock_ahead_s=ahead_s),
    ):
        await until(lambda: "from-the-future" in only_peer(east).refusal_counts)
        assert east.sees("pay")
        assert "s ahead of our clock" in only_peer(east).refusals[0].detail


def _svid_is_accepted(authority: Authority, lifetime_s: float, ahead_s: float, age: float) -> bool:
    """Whether a gateway's certificate passes at a verifier of our time. Its issuer's clock is `ahead_s` ahead; of the
    time until it is renewed at the latest, the share `age` has passed."""
    issued_at = datetime.now(UTC) + timedelta(seconds=ahead_s)
    key = PrivateKey.generate()
    chain = authority.issue_gateway(make_signing_request(key), now=issued_at, lifetime_s=lifetime_s)
    latest = max(svid_from(chain, key).renew_at(random.Random(seed)) for seed in range(50))
    verified_at = issued_at + (latest - issued_at) * age - timedelta(seconds=ahead_s)
    try:
        validate_gateway(chain, {authority.trust_domain: [authority.root_der]}, verified_at)
    except PeerRejected as error:
        if error.code != ("not-yet-valid" if ahead_s > 0 else "expired"):
            raise
        return False
    return True


@pytest.mark.parametrize(
    ("lifetime_s", "ahead_s", "accepted"),
    [
        (3600, 300, True),
        (3600, 350, True),
        (3600, 370, False),
        (3600, -300, True),
        (3600, -1800, True),
        (3600, -2400, False),
        (600, 55, True),
        (600, 65, False),
        (600, -300, True),
        (600, -400, False),
    ],
)
def test_what_certificates_tolerate(tmp_path: FilePath, lifetime_s: float, ahead_s: float, accepted: bool) -> None:
    """As docs/operations.md says: a tenth of the life ahead, and what is left of it at renewal behind."""
    # A root that has been there for a day: a new one begins ten minutes before it was made.
    now = datetime.now(UTC) - timedelta(days=1)
    authority = Authority.load_or_create(tmp_path / "west", "west.acme.test", now)
    assert all(_svid_is_accepted(authority, lifetime_s, ahead_s, age) for age in (0.0, 0.5, 1.0)) is accepted
