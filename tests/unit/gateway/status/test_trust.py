"""What status shows of roots, and which of it a person should look at."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from federation.acknowledgement import PublicationState
from federation.report import BundleFollowing
from federation.status.trust_values import (
    OwnRootDocument,
    PeerTrustDocument,
    RootDocument,
    RotationDocument,
    TrustDocument,
)
from gateway.status.trust import (
    EXPIRES_SOON,
    PATIENCE_S,
    describe_own_roots,
    describe_revoked,
    describe_rotation,
    describe_trust,
    rotation_problems,
)
from tests.forge import NOW
from tests.status_documents import FakeSource
from tests.unit.gateway.status.test_peers import WEST
from tests.unit.gateway.status.test_problems import FINE
from trust.authority import Authority
from trust.keyring import Keyring
from trust.revocation import FOREVER, Revocations
from trust.rotation import READERS, Step

T = NOW.timestamp()
AGREED = PublicationState(7, {}, True, 0, False)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.load_or_create(tmp_path / "trust", "east.acme.test", NOW)


def roles(keyring: Keyring) -> list[tuple[str, str]]:
    return [(root.fingerprint, root.role) for root in describe_own_roots(keyring)]


def test_each_root_has_its_role_in_every_stage(keyring: Keyring) -> None:
    """The one that signs comes first; the other is named by what becomes of it."""
    old = keyring.fingerprint
    assert roles(keyring) == [(old, "signing")]
    keyring.prepare(T, 1, forced=False)
    ((_, first), (new, second)) = roles(keyring)
    assert (first, second) == ("signing", "next")
    keyring.take_step(Step.ACTIVATE, T, 2)
    assert roles(keyring) == [(new, "signing"), (old, "previous")]
    keyring.revoke_root(old, T, 3)
    assert roles(keyring) == [(new, "signing"), (old, "revoked")]
    keyring.take_step(Step.SILENCE, T, 4)
    assert roles(keyring) == [(new, "signing"), (old, "revoked")]


def test_roots_that_are_not_kept_here_are_believed(tmp_path: Path) -> None:
    """Where the CA is the operator's, its other roots are in the bundle and sign nothing that we know of."""
    own = Authority.load_or_create(tmp_path / "own", "east.acme.test", NOW)
    assert [root.role for root in describe_own_roots(own)] == ["signing"]
    (root,) = describe_own_roots(own)
    assert root.not_after > NOW


def test_what_is_revoked_is_named_as_it_is_meant() -> None:
    """A gateway that goes on with other certificates is not shut out."""
    revoked = describe_revoked(Revocations({"gw-2": FOREVER, "gw-1": int(T)}, {"ab": int(T)}))
    assert revoked.gateways == ("gw-1 (its former certificates)", "gw-2")
    assert revoked.serials == ("ab",)


def test_a_rotation_says_since_when_and_for_whom_it_waits(keyring: Keyring) -> None:
    steady = describe_rotation(keyring.rotation, (), AGREED)
    assert (steady.stage, steady.since) == ("steady", None)
    keyring.prepare(T, 1, forced=True)
    state = msgspec.structs.replace(AGREED, waiting_for={"west": "it is away"})
    shown = describe_rotation(keyring.rotation, ("west: it is away",), state)
    assert (shown.stage, shown.since, shown.forced) == ("prepared", NOW, True)
    assert shown.not_acknowledged == {"west": "it is away"}


def document(rotation: RotationDocument | None = None, peers: tuple[PeerTrustDocument, ...] = ()) -> TrustDocument:
    return msgspec.structs.replace(FakeSource().trust(), roots=(), peers=peers, rotation=rotation)


def test_a_peer_that_is_followed_by_url_says_so(keyring: Keyring) -> None:
    """Whoever reads that it acknowledges nothing has to see why it can't."""
    following = BundleFollowing("https://west.acme.test/", None, "")
    federation = msgspec.structs.replace(FINE, peers=(WEST, msgspec.structs.replace(WEST, following=following)))
    shown = describe_trust(keyring, federation, {}, svid_lifetime_s=60.0, rotation=None)
    assert [peer.bundle_url for peer in shown.peers] == ["", "https://west.acme.test/"]


def problems(trust: TrustDocument, now: datetime = NOW, state: PublicationState = AGREED) -> list[tuple[str, str]]:
    return [(problem.subject, problem.message) for problem in rotation_problems(trust, state, now)]


def test_laggards_are_named_after_a_while() -> None:
    """Peers that run acknowledge within a second, so that nobody is blamed before."""
    rotation = RotationDocument("prepared", NOW, False, ("west: it is away", "eu: it lags"), {})
    assert problems(document(rotation), NOW + timedelta(seconds=PATIENCE_S)) == []
    late = problems(document(rotation), NOW + timedelta(seconds=PATIENCE_S + 1))
    assert late == [
        ("rotation", "stage prepared waits for west: it is away"),
        ("rotation", "stage prepared waits for eu: it lags"),
    ]
    readers = msgspec.structs.replace(rotation, waiting_for=(f"{READERS} comes within 500 s",))
    assert problems(document(readers), NOW + timedelta(minutes=2)) == [], "that takes its time"
    active = msgspec.structs.replace(rotation, stage="active")
    assert problems(document(active), NOW + timedelta(days=1)) == [], "certificates end when they end"


def test_roots_that_end_soon_are_named() -> None:
    """Ours and theirs, in time to rotate, and after it was too late."""
    root = RootDocument("sha256:" + "ab" * 32, NOW - timedelta(days=3_650), NOW + EXPIRES_SOON)
    peer = PeerTrustDocument("west", "west.acme.test", root.fingerprint, 3, 1, (root,))
    assert problems(document(peers=(peer,))) == []
    ((subject, text),) = problems(document(peers=(peer,)), NOW + timedelta(seconds=1))
    assert subject == "west"
    assert "ends at" in text
    ((_, text),) = problems(document(peers=(peer,)), NOW + EXPIRES_SOON + timedelta(days=1))
    assert "has ended at" in text
    own = OwnRootDocument(root.fingerprint, "signing", root.not_before, NOW + timedelta(days=3))
    ((subject, _),) = problems(msgspec.structs.replace(document(), roots=(own,)))
    assert subject == "this cluster"
    gone = msgspec.structs.replace(own, role="previous")
    assert problems(msgspec.structs.replace(document(), roots=(gone,))) == [], "it goes anyway"


def test_short_lives_and_replaced_roots_are_no_alarm() -> None:
    """SPIRE's roots live for a day by default, and the next one is in the bundle long before."""
    day = timedelta(days=1)
    root = RootDocument("sha256:" + "ab" * 32, NOW, NOW + day)
    peer = PeerTrustDocument("west", "west.acme.test", root.fingerprint, 3, 1, (root,))
    assert problems(document(peers=(peer,)), NOW + day * 0.87) == []
    assert len(problems(document(peers=(peer,)), NOW + day * 0.88)) == 1
    following = RootDocument("sha256:" + "cd" * 32, NOW + day / 2, NOW + day * 1.5)
    both = msgspec.structs.replace(peer, roots=(following, root))
    assert problems(document(peers=(both,)), NOW + day * 1.1) == []


def test_a_pin_that_is_out_of_date_is_named_with_what_to_write() -> None:
    """This gateway has followed its peer; another one without its memory would refuse it."""
    root = RootDocument("sha256:" + "ab" * 32, NOW, NOW + timedelta(days=365))
    peer = PeerTrustDocument("west", "west.acme.test", "sha256:" + "cd" * 32, 3, 1, (root,), pin_is_current=False)
    ((subject, text),) = problems(document(peers=(peer,)))
    assert subject == "west"
    assert "peers.west.root" in text
    assert root.fingerprint in text


def test_keys_that_were_not_brought_here_are_named() -> None:
    """Or this gateway signs with a root that is about to go."""
    ((subject, text),) = problems(document(), state=msgspec.structs.replace(AGREED, behind=True))
    assert subject == "keys"
    assert "bundle 7" in text
    assert "state_dir/trust" in text
