"""What a Workload API gives: which of it a cluster takes, and that nothing else gets past."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.workload import workload_pb2 as pb
from tests.workload_agent import both, svid_of
from trust.authority import Authority
from trust.bundle import RecordKey
from trust.errors import TrustError
from trust.keys import PrivateKey
from trust.spiffe_id import controller_id, gateway_id, workload_id
from trust.verify import validate_record_chain
from trust.workload_authority import WorkloadAuthority
from trust.workload_svid import WorkloadSvid, read_identity, split_der

EAST = "east.acme.test"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def spire(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.load_or_create(tmp_path_factory.mktemp("spire") / "trust", EAST, now())


@pytest.fixture(scope="module")
def good(spire: Authority) -> pb.X509SVIDResponse:
    return both(spire)


def taken(answer: pb.X509SVIDResponse) -> list[WorkloadSvid]:
    return [WorkloadSvid(one.spiffe_id, one.x509_svid, one.x509_svid_key, one.bundle) for one in answer.svids]


def test_both_identities_are_found_among_others(spire: Authority) -> None:
    """An agent gives all that fits this process, in any order."""
    answer = both(spire)
    answer.svids.insert(0, svid_of(spire, workload_id(EAST, "shop", "web")))
    identity = read_identity(taken(answer), EAST, now())
    assert identity.gateway.spiffe_id == gateway_id(EAST)
    assert identity.controller.spiffe_id == controller_id(EAST)
    assert (identity.roots, identity.root_der) == ((spire.root_der,), spire.root_der)


def test_the_controllers_svid_vouches_for_the_record_key(spire: Authority) -> None:
    """A reader that pinned SPIRE's root believes the bundle by this chain, and all else by the key in the bundle."""
    source = WorkloadAuthority(EAST, read_identity(taken(both(spire)), EAST, now()), PrivateKey.generate())
    assert validate_record_chain(source.record_chain, source.fingerprint, EAST, now()) == source.vouching_key.public_key
    assert source.bundle(1).record_keys == (RecordKey.of(source.record_key.public_key),)
    assert source.vouching_key.public_key != source.record_key.public_key


def test_the_pinned_root_is_the_one_that_certifies(spire: Authority, tmp_path: Path) -> None:
    """SPIRE puts its next root into the bundle long before it signs."""
    following = Authority.load_or_create(tmp_path / "next", EAST, now())
    identity = read_identity(taken(both(spire, roots=(following.root_der, spire.root_der))), EAST, now())
    assert identity.root_der == spire.root_der
    assert identity.roots == (following.root_der, spire.root_der)


def _rsa_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _without(index: int) -> Callable[[pb.X509SVIDResponse], None]:
    return lambda answer: answer.svids.__delitem__(index)


def _set(field: str, value: bytes) -> Callable[[pb.X509SVIDResponse], None]:
    return lambda answer: setattr(answer.svids[0], field, value)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (_without(0), "foreign-identity", "isthmus-gateway"),
        (_without(1), "foreign-identity", "isthmus-controller"),
        (lambda answer: answer.ClearField("svids"), "foreign-identity", "no identity at all"),
        (lambda answer: setattr(answer.svids[0], "spiffe_id", f"spiffe://{EAST}/other"), "foreign-identity", "other"),
        (lambda answer: setattr(answer.svids[1], "spiffe_id", str(gateway_id(EAST))), "foreign-identity", "controller"),
        (_set("x509_svid_key", PrivateKey.generate().expose_private_der()), "key-mismatch", ""),
        (_set("x509_svid_key", b"no key"), "malformed-key", "DER"),
        (_set("x509_svid_key", _rsa_key()), "malformed-key", "ec-p256"),
        (_set("x509_svid", b""), "malformed-chain", ""),
        (_set("x509_svid", b"\x30\x03ab"), "malformed-chain", ""),
        (_set("bundle", b""), "unknown-authority", ""),
        (_set("bundle", b"\x30\x00"), "malformed-chain", ""),
    ],
)
def test_each_wrong_answer_is_refused_by_name(
    spire: Authority, change: Callable[[pb.X509SVIDResponse], None], code: str, says: str
) -> None:
    """The operator's mistake is nearly always a registration entry: the message says which."""
    answer = both(spire)
    change(answer)
    with pytest.raises(TrustError) as refused:
        read_identity(taken(answer), EAST, now())
    assert refused.value.code == code
    assert says in str(refused.value)


def test_another_trust_domain_is_refused(spire: Authority) -> None:
    """An agent of another SPIRE must not make us somebody else."""
    with pytest.raises(TrustError) as refused:
        read_identity(taken(both(spire)), "west.acme.test", now())
    assert refused.value.code == "foreign-identity"


def test_an_expired_svid_is_refused(spire: Authority) -> None:
    """An agent that is cut off from its server gives what it has."""
    with pytest.raises(TrustError) as refused:
        read_identity(taken(both(spire)), EAST, now() + timedelta(hours=2))
    assert refused.value.code == "expired"


def test_keys_are_shown_nowhere(spire: Authority) -> None:
    """They pass through logs' reach on their way from the agent to the workers."""
    svid = taken(both(spire))[0]
    identity = read_identity(taken(both(spire)), EAST, now())
    for shown in (repr(svid), repr(identity), str(WorkloadAuthority(EAST, identity, PrivateKey.generate()))):
        assert repr(svid.key)[2:40] not in shown
        assert "PRIVATE" not in shown


@given(st.lists(st.binary(min_size=0, max_size=300), max_size=8))
def test_rows_of_der_are_cut_where_they_were_joined(contents: list[bytes]) -> None:
    """X.690: short lengths, and long ones of one and two bytes."""

    def element(content: bytes) -> bytes:
        size = len(content)
        if size < 128:
            return bytes((0x30, size)) + content
        return (bytes((0x30, 0x81, size)) if size < 256 else bytes((0x30, 0x82)) + size.to_bytes(2, "big")) + content

    parts = tuple(element(content) for content in contents)
    assert split_der(b"".join(parts), 8) == parts


@given(st.binary(max_size=200))
def test_any_bytes_are_cut_or_refused(data: bytes) -> None:
    """Nothing is lost or made up."""
    with contextlib.suppress(TrustError):
        assert b"".join(split_der(data, 8)) == data


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_garbled_answers_never_raise_anything_else(good: pb.X509SVIDResponse, data: st.DataObject) -> None:
    """The agent is trusted, its answers are parsed all the same."""
    answer = pb.X509SVIDResponse()
    answer.CopyFrom(good)
    field = data.draw(st.sampled_from(["x509_svid", "x509_svid_key", "bundle"]))
    content = getattr(answer.svids[0], field)
    cut = data.draw(st.integers(0, len(content)))
    skipped = cut + data.draw(st.integers(0, 9))
    setattr(answer.svids[0], field, content[:cut] + data.draw(st.binary(max_size=9)) + content[skipped:])
    with contextlib.suppress(TrustError):
        read_identity(taken(answer), EAST, now())
