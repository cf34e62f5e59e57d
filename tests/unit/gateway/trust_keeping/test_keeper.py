"""The driver of a rotation: what it does at which look, whom it tells, and what it answers to orders."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from federation.acknowledgement import PublicationState
from gateway.control import Renew
from gateway.trust_keeping.keeper import SETTLE_S, TrustKeeper, Worker
from gateway.trust_keeping.orders import OrderFiles, TrustAnswer, TrustOrder
from tests.forge import NOW
from trust.keyring import Keyring
from trust.revocation import FOREVER
from trust.rotation import READERS, Stage, svids_gone_at

T = NOW.timestamp()
AGREED = PublicationState(1, {}, True, 0, False, ("gw-other",))


class Peers:
    """What the federation would say of peers, and how often it was told that the bundle changed."""

    gateway_id = "gw-own"

    def __init__(self) -> None:
        self.state = AGREED
        self.told = 0

    def publication_state(self) -> PublicationState:
        return self.state

    def trust_changed(self) -> None:
        self.told += 1


class Link:
    def __init__(self, id: str) -> None:
        self.id = id
        self.renewals = 0

    def tell(self, message: Renew) -> None:
        self.renewals += 1


class Fleet:
    def __init__(self) -> None:
        self.workers = {"w1": Link("w1"), "w2": Link("w2")}

    @property
    def links(self) -> Mapping[str, Worker]:
        return self.workers

    @property
    def renewals(self) -> list[int]:
        return [link.renewals for link in self.workers.values()]


class Stand:
    """A keeper with its surroundings, and a clock that is set."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = T
        self.peers, self.fleet, self.orders = Peers(), Fleet(), OrderFiles(directory)
        self.restart()

    def restart(self) -> None:
        self.keyring = Keyring.load_or_create(self.directory / "trust", "east.acme.test", NOW)
        self.keeper = TrustKeeper(self.keyring, self.peers, self.fleet, self.orders, lambda: self.now)

    def order(self, action: str, subject: str = "", *, force: bool = False) -> TrustAnswer:
        id = self.orders.give(msgspec.convert({"action": action, "subject": subject, "force": force}, TrustOrder))
        self.keeper.look()
        answer = self.orders.read_answer(id)
        assert answer is not None
        return answer

    def peers_lag(self, *names: str) -> None:
        self.peers.state = msgspec.structs.replace(AGREED, waiting_for=dict.fromkeys(names, "it is away"))

    @property
    def stage(self) -> str:
        return str(self.keyring.rotation.stage)


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def test_a_rotation_goes_as_far_as_peers_and_clocks_allow(stand: Stand) -> None:
    """Prepared until all have acknowledged, active until the last old certificate has ended; each change is told, and
    workers get certificates of the new root once, when it signs."""
    old = stand.keyring.fingerprint
    stand.peers_lag("west")
    assert stand.order("rotate").done
    assert (stand.stage, stand.peers.told, stand.fleet.renewals) == (Stage.PREPARED, 1, [0, 0])
    stand.keeper.look()
    assert stand.stage == Stage.PREPARED
    assert stand.keeper.waiting() == ("west: it is away",)
    stand.peers.state = AGREED
    stand.keeper.look()
    assert (stand.stage, stand.peers.told, stand.fleet.renewals) == (Stage.ACTIVE, 2, [1, 1])
    assert stand.keyring.fingerprint != old
    stand.keeper.look()
    assert stand.stage == Stage.ACTIVE, "certificates under the old root have not ended"
    stand.now = svids_gone_at(stand.keeper.rotation)
    stand.keeper.look()
    assert (stand.stage, stand.peers.told) == (Stage.STEADY, 3)
    assert stand.keyring.other_root is None
    stand.keeper.look()
    assert (stand.fleet.renewals, stand.peers.told) == ([1, 1], 3), "nothing is told twice"


def test_who_follows_by_url_is_waited_for(stand: Stand) -> None:
    """And the answer to the order says so, as nobody can name them."""
    stand.keeper = TrustKeeper(
        stand.keyring, stand.peers, stand.fleet, stand.orders, lambda: stand.now, readers_s=600.0
    )
    assert "not before 600 s" in stand.order("rotate").message
    stand.now += 599.0
    stand.keeper.look()
    assert stand.stage == Stage.PREPARED
    assert stand.keeper.waiting() == (f"{READERS} comes within 1 s",)
    stand.now += 1.0
    stand.keeper.look()
    assert stand.stage == Stage.ACTIVE


def test_a_worker_that_comes_late_is_told_as_well(stand: Stand) -> None:
    """It may hold a certificate from before."""
    stand.order("rotate")
    stand.keeper.look()
    assert stand.stage == Stage.ACTIVE
    stand.fleet.workers["w3"] = Link("w3")
    stand.keeper.look()
    stand.keeper.look()
    assert stand.fleet.renewals == [1, 1, 1]


def test_a_controller_that_starts_in_the_middle_lets_things_settle(stand: Stand) -> None:
    """It tells every worker, and retires nothing until they have had the time."""
    stand.order("rotate")
    stand.keeper.look()
    stand.now = svids_gone_at(stand.keeper.rotation) + 60.0
    stand.restart()
    stand.keeper.look()
    assert (stand.stage, stand.fleet.renewals) == (Stage.ACTIVE, [2, 2])
    stand.now += SETTLE_S
    stand.keeper.look()
    assert stand.stage == Stage.STEADY


def test_force_is_loud_and_names_who_is_left_behind(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """In the answer and in the log."""
    stand.peers_lag("west", "eu")
    stand.order("rotate")
    refused = stand.order("rotate")
    assert not refused.done
    assert "under way already" in refused.message
    with caplog.at_level(logging.WARNING):
        forced = stand.order("rotate", force=True)
    assert forced.done
    assert "left behind: eu, west" in forced.message
    assert "FORCED: the rotation of the root goes on without eu: it is away" in caplog.text
    assert stand.stage == Stage.ACTIVE


def test_a_root_is_revoked_at_once(stand: Stand) -> None:
    """Without waiting for anybody: another signs, peers are told, workers get new certificates."""
    stand.peers_lag("west")
    old = stand.keyring.fingerprint
    answer = stand.order("revoke-root", old)
    assert answer.done
    assert old in answer.message
    assert stand.keyring.fingerprint != old
    assert stand.keyring.fingerprint in answer.message
    assert (stand.peers.told > 0, stand.fleet.renewals) == (True, [1, 1])
    assert not stand.order("revoke-root", "sha256:" + "0" * 64).done
    assert not stand.order("revoke-root", "nonsense").done


def test_gateways_and_certificates_are_revoked(stand: Stand) -> None:
    """This gateway goes on with other certificates; another one stays out for good; a serial number is read as people
    write it. What is neither is refused by name."""
    own = stand.order("revoke-gateway", "gw-own")
    assert own.done
    assert "this gateway" in own.message
    assert T < stand.keyring.revoked.gateways["gw-own"] < FOREVER
    assert stand.fleet.renewals == [1, 1]
    other = stand.order("revoke-gateway", "gw-other")
    assert other.done
    assert "compare" not in other.message
    away = stand.order("revoke-gateway", "gw-othr")
    assert away.done, "one that is down can be revoked"
    assert "only gw-other, gw-own: compare the id" in away.message
    assert stand.keyring.revoked.gateways["gw-other"] == FOREVER
    assert stand.fleet.renewals == [1, 1], "ours are as good as before"
    assert stand.order("revoke-gateway", "0x00:AB:CD:EF:01:23").done
    assert "abcdef0123" in stand.keyring.revoked.serials
    refused = stand.order("revoke-gateway", "nobody")
    assert not refused.done
    assert "gw-other, gw-own" in refused.message


def test_revocations_end_and_that_is_told(stand: Stand) -> None:
    """What no longer refuses anything leaves the bundle."""
    stand.order("revoke-gateway", "gw-own")
    told = stand.peers.told
    stand.now = stand.keyring.revoked.gateways["gw-own"] + 1.0
    stand.keeper.look()
    assert len(stand.keyring.revoked) == 0
    assert stand.peers.told == told + 1


def test_a_gateway_without_the_later_keys_changes_nothing(stand: Stand) -> None:
    """Another gateway of the cluster has gone on: two that sign apart would split it."""
    stand.order("rotate")
    stage = stand.stage
    stand.peers.state = msgspec.structs.replace(AGREED, behind=True, sequence=9)
    stand.keeper.look()
    assert stand.stage == stage
    refused = stand.order("rotate", force=True)
    assert not refused.done
    assert "bundle 9" in refused.message


def test_keys_that_another_gateway_changed_are_taken_in(stand: Stand) -> None:
    """They share a state directory's keys; peers and workers hear of it as if it had been ordered here."""
    other = Keyring.load_or_create(stand.directory / "trust", "east.acme.test", NOW)
    other.revoke_root(other.fingerprint, T, 1)
    stand.keeper.look()
    assert stand.keyring.fingerprint == other.fingerprint
    assert (stand.peers.told > 0, stand.fleet.renewals) == (True, [1, 1])


def test_keys_that_cant_be_read_are_named_and_those_in_memory_stay(stand: Stand) -> None:
    """A damaged file is a problem in status, not the end of the gateway; it is over when the file is good again."""
    fingerprint = stand.keyring.fingerprint
    stand.order("revoke-gateway", "gw-other")
    file = stand.directory / "trust" / "keyring.json"
    content = file.read_bytes()
    file.write_bytes(b"{")
    stand.keeper.look()
    assert "keyring.json" in stand.keeper.problem
    assert stand.keyring.fingerprint == fingerprint
    file.write_bytes(content)
    stand.keeper.look()
    assert stand.keeper.problem == ""
