"""The peers: whose roots are used."""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography import x509

from federation import paths
from federation.members import Members
from federation.peer_events import Put
from federation.settings import FederationSettings
from gateway.status.problems import root_problems
from tests.federation_members import as_peers, forge, make_authority
from tests.unit.gateway.status.test_peers import WEST
from tests.unit.trust.test_shadowing import imitate
from trust.authority import Authority
from trust.bundle import Bundle, encode_bundle

WALL = 1_900_000_000.0


def accept(members: Members, authority: Authority, cluster: str, *more: bytes, sequence: int) -> set[str]:
    own = authority.bundle(sequence)
    bundle = Bundle(own.trust_domain, sequence, 300, (*own.authorities, *more), own.record_keys)
    raw = forge(
        authority,
        cluster,
        paths.BUNDLE,
        encode_bundle(bundle),
        sequence=sequence,
        issued_at=WALL,
        with_chain=True,
    )
    assert members[cluster].state.apply(Put(paths.BUNDLE, raw), WALL)
    return members.review_roots()


def test_a_root_that_imitates_another_peers_is_left_out_and_named(tmp_path: Path) -> None:
    """It does not reach the workers, whoever came first; the rest of its bundle does, and all of it once it is gone."""
    authorities = {name: make_authority(tmp_path, name) for name in ("aaa", "west")}
    copy = imitate(x509.load_der_x509_certificate(authorities["west"].root_der), own_key=True)
    peers = as_peers(authorities)
    members = Members(FederationSettings(federation="acme", cluster="east", state_dir=tmp_path, peers=peers), 0.0)
    assert accept(members, authorities["aaa"], "aaa", copy, sequence=1) == set()
    assert copy in members.view("aaa").roots
    assert accept(members, authorities["west"], "west", sequence=1) == {"aaa"}
    assert members.view("aaa").roots == (authorities["aaa"].root_der,)
    assert members.view("west").roots == (authorities["west"].root_der,)
    (shadow,) = members.shadows
    (problem,) = root_problems([msgspec.structs.replace(WEST, roots_left_out=(str(shadow),))])
    assert (problem.kind, problem.subject) == ("root", "west")
    assert "a root of west" in problem.message
    assert accept(members, authorities["aaa"], "aaa", sequence=2) == {"aaa"}
    assert members.shadows == []
