"""A worker's SVID, whom it believes, and until when. Handshakes between two of them are in test_tunnels.py."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.snapshot import PeerResource
from gateway.tunnel import identity as identity_module
from gateway.tunnel.identity import Identity, NotReady, Proof
from tests.gateway_ends import make_authority, make_identity, peer_of, wall_clock
from trust.authority import Authority
from trust.errors import PeerRejected, TrustError
from trust.keys import PrivateKey
from trust.spiffe_id import gateway_id


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    directory: Path = tmp_path_factory.mktemp("authorities")
    return {cluster: make_authority(directory, cluster) for cluster in ("east", "west", "north")}


def chain_of(authority: Authority, lifetime_s: float = 3600.0) -> tuple[bytes, ...]:
    svid = make_identity(authority, lifetime_s=lifetime_s).svid
    assert svid is not None
    return svid.chain


def proof_of(authority: Authority, cluster: str, lifetime_s: float = 3600.0) -> Proof:
    now = wall_clock()
    ends = now + timedelta(seconds=lifetime_s)
    return Proof(cluster, gateway_id(authority.trust_domain), chain_of(authority, lifetime_s), now, ends)


def test_nothing_works_before_there_is_an_svid(authorities: dict[str, Authority]) -> None:
    """And it says so, rather than to fail in a handshake."""
    identity = Identity()
    identity.set_peer(peer_of(authorities["west"]))
    with pytest.raises(NotReady, match="no SVID yet"):
        identity.server_context()
    with pytest.raises(NotReady, match="no SVID yet"):
        identity.client_context("west")


def test_a_peer_without_a_bundle(authorities: dict[str, Authority]) -> None:
    """Its bundle has not come, or was refused: nobody there can be believed, and we need not dial."""
    identity = make_identity(authorities["east"], PeerResource("west", "west.test", ()))
    for cluster in ("west", "nobody"):
        with pytest.raises(NotReady, match=f"no trust bundle of {cluster} yet"):
            identity.client_context(cluster)


def test_contexts_are_made_once_for_each_change(authorities: dict[str, Authority]) -> None:
    """Making one reads all roots; a handshake shall not pay for that."""
    identity = make_identity(authorities["east"], peer_of(authorities["west"]))
    server, client = identity.server_context(), identity.client_context("west")
    assert identity.server_context() is server
    assert identity.client_context("west") is client
    identity.set_peer(peer_of(authorities["north"]))
    assert identity.server_context() is not server
    identity.signing_request()
    assert identity.server_context() is identity.server_context(), "a request that is not answered changes nothing"


def test_a_certificate_for_another_key_changes_nothing(authorities: dict[str, Authority]) -> None:
    """The answer to an earlier request comes late; the SVID that we have goes on."""
    identity = make_identity(authorities["east"], peer_of(authorities["west"]))
    before = identity.svid
    late = authorities["east"].issue_gateway(identity.signing_request(), now=wall_clock(), lifetime_s=60.0)
    csr = identity.signing_request()
    with pytest.raises(TrustError):
        identity.take_certificate(late)
    assert identity.svid is before
    identity.take_certificate(authorities["east"].issue_gateway(csr, now=wall_clock(), lifetime_s=60.0))
    assert identity.svid is not before
    identity.take_certificate([b"nobody asked"])


def test_a_chain_is_a_clusters_by_its_trust_domain(authorities: dict[str, Authority]) -> None:
    """Whose roots vouch for it follows from its SPIFFE ID, never from whichever root fits."""
    identity = make_identity(authorities["east"], peer_of(authorities["west"]), peer_of(authorities["north"]))
    cluster, spiffe_id = identity.peer_of(chain_of(authorities["west"]), wall_clock())
    assert (cluster, str(spiffe_id)) == ("west", "spiffe://west.test/ns/isthmus-system/sa/isthmus-gateway")


def test_a_root_vouches_for_its_own_trust_domain_only(authorities: dict[str, Authority]) -> None:
    """North may sign what it likes: its root is in no other bundle."""
    impostor = PeerResource("west", "west.test", (authorities["north"].root_der,))
    identity = make_identity(authorities["east"], impostor)
    with pytest.raises(PeerRejected) as caught:
        identity.peer_of(chain_of(authorities["west"]), wall_clock())
    assert caught.value.code == "unknown-authority"
    with pytest.raises(PeerRejected) as caught:
        identity.peer_of(chain_of(authorities["north"]), wall_clock())
    assert caught.value.code == "wrong-trust-domain"


def test_a_connection_outlives_its_certificate(authorities: dict[str, Authority]) -> None:
    """It proved what it had to when it was opened. Closing it later would cut requests."""
    identity = make_identity(authorities["east"], peer_of(authorities["west"]))
    proof = proof_of(authorities["west"], "west", lifetime_s=1.0)
    with pytest.raises(PeerRejected):
        identity.peer_of(proof.chain, wall_clock() + timedelta(hours=1))
    assert identity.still_believed(proof)


def test_what_ends_belief(authorities: dict[str, Authority]) -> None:
    """The peer is removed, its root is withdrawn, or its trust domain belongs to another cluster now."""
    west = peer_of(authorities["west"])
    proof = proof_of(authorities["west"], "west")
    identity = make_identity(authorities["east"], west)
    assert identity.still_believed(proof)
    identity.set_peer(PeerResource("west", "west.test", (authorities["north"].root_der,)))
    assert not identity.still_believed(proof)
    identity.set_peer(west)
    identity.remove_peer("west")
    assert not identity.still_believed(proof)
    identity.set_peer(PeerResource("renamed", "west.test", west.roots))
    assert not identity.still_believed(proof)


def test_old_roots_come_before_new_ones(authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever publishes them: OpenSSL looks no further than the first that has an issuer's name, and a peer of long
    standing could copy a newcomer's."""
    given: list[list[bytes]] = []

    def record(svid: object, roots: Iterable[bytes]) -> Any:
        given.append([*roots])
        return cast(Any, object())

    monkeypatch.setattr(identity_module, "server_context", record)
    first, second, late = (authorities[cluster].root_der for cluster in ("west", "north", "east"))
    identity = make_identity(authorities["east"], peer_of(authorities["west"]), peer_of(authorities["north"]))
    identity.set_peer(PeerResource("west", "west.test", (late, first)))
    identity.server_context()
    assert given[-1] == [first, second, late]
    identity.set_peer(PeerResource("west", "west.test", (late,)))
    identity.server_context()
    assert given[-1] == [second, late]


def test_an_svid_that_comes_with_its_key(authorities: dict[str, Authority]) -> None:
    """A Workload API makes keys itself. It may come without being asked for; one that does not fit changes nothing."""
    own = make_identity(authorities["east"]).svid
    assert own is not None
    identity = Identity()
    identity.take_certificate(own.chain, own.key.expose_private_der())
    assert identity.svid is not None
    assert identity.svid.key.public_key == own.key.public_key
    for key in (PrivateKey.generate().expose_private_der(), b"no key"):
        with pytest.raises(TrustError):
            identity.take_certificate(own.chain, key)
    assert identity.svid.chain == own.chain
