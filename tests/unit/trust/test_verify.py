"""Who is let in, and for which reason everybody else is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.forge import NOW, Forge, key_usage, p256
from trust.authority import Authority
from trust.errors import PeerRejected, RejectionCode
from trust.keys import PrivateKey
from trust.revocation import FOREVER, Revocations
from trust.spiffe_id import gateway_id
from trust.svid import make_signing_request
from trust.verify import MAX_CHAIN_LENGTH, validate_gateway, validate_record_chain

EAST = "east.acme.test"
WEST = "west.acme.test"
EAST_GATEWAY = str(gateway_id(EAST))
WEST_GATEWAY = str(gateway_id(WEST))
EAST_CONTROLLER = f"spiffe://{EAST}/ns/isthmus-system/sa/isthmus-controller"

EAST_CA = Forge.root("east")
WEST_CA = Forge.root("west")
BUNDLES = {EAST: [EAST_CA.der], WEST: [WEST_CA.der]}


def rejection(chain: list[bytes], bundles: dict[str, list[bytes]] | None = None) -> str:
    with pytest.raises(PeerRejected) as caught:
        validate_gateway(chain, BUNDLES if bundles is None else bundles, NOW)
    assert str(caught.value), "a rejection explains itself"
    return caught.value.code


def damaged(old: bytes, new: bytes) -> bytes:
    """East's gateway certificate with some of its DER replaced, which the lazy parser sees only later."""
    leaf = EAST_CA.leaf(EAST_GATEWAY)
    assert leaf.count(old) == 1
    return leaf.replace(old, new)


Case = Callable[[], list[bytes]]

REJECTED: list[tuple[RejectionCode, str, Case]] = [
    ("no-certificate", "an empty chain", list),
    ("malformed", "no DER at all", lambda: [b"GET / HTTP/1.1\r\n"]),
    ("malformed", "a truncated certificate", lambda: [EAST_CA.leaf(EAST_GATEWAY)[:-10]]),
    ("malformed", "a certificate of a megabyte", lambda: [bytes(1_000_000)]),
    ("malformed", "garbage behind a good leaf", lambda: [EAST_CA.leaf(EAST_GATEWAY), b"\x30\x00"]),
    ("malformed", "a very long chain", lambda: [EAST_CA.leaf(EAST_GATEWAY), *[EAST_CA.der] * MAX_CHAIN_LENGTH]),
    ("malformed", "an extension twice", lambda: [damaged(b"\x55\x1d\x13", b"\x55\x1d\x11")]),
    ("malformed", "a key that is no point", lambda: [damaged(b"\x03\x42\x00\x04", b"\x03\x42\x00\x05")]),
    ("malformed", "an issuer that is no text", lambda: [damaged(b"\x0c\x04east", b"\x0d\x04east")]),
    ("no-spiffe-id", "no alternative name", lambda: [EAST_CA.leaf(subject="gateway")]),
    ("no-spiffe-id", "a DNS name only", lambda: [EAST_CA.leaf(dns=["gw.east.acme.test"])]),
    ("several-spiffe-ids", "two of the same", lambda: [EAST_CA.leaf(EAST_GATEWAY, EAST_GATEWAY)]),
    ("several-spiffe-ids", "two trust domains", lambda: [EAST_CA.leaf(EAST_GATEWAY, WEST_GATEWAY)]),
    ("several-spiffe-ids", "another URI beside it", lambda: [EAST_CA.leaf(EAST_GATEWAY, "https://acme.test/")]),
    ("malformed-spiffe-id", "another scheme", lambda: [EAST_CA.leaf("https://east.acme.test/gateway")]),
    ("malformed-spiffe-id", "upper case", lambda: [EAST_CA.leaf(EAST_GATEWAY.replace("east", "EAST"))]),
    ("malformed-spiffe-id", "a trust domain only", lambda: [EAST_CA.leaf(f"spiffe://{EAST}")]),
    ("wrong-trust-domain", "one that is no peer", lambda: [EAST_CA.leaf(str(gateway_id("evil.test")))]),
    ("ca-certificate", "the CA itself", lambda: [EAST_CA.der]),
    ("ca-certificate", "a gateway that may sign", lambda: [EAST_CA.leaf(EAST_GATEWAY, ca=True)]),
    ("wrong-key-usage", "no key usage", lambda: [EAST_CA.leaf(EAST_GATEWAY, usage=None)]),
    (
        "wrong-key-usage",
        "no digitalSignature",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, usage=key_usage("key_agreement"))],
    ),
    (
        "wrong-key-usage",
        "keyCertSign",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, usage=key_usage("digital_signature", "key_cert_sign"))],
    ),
    (
        "wrong-key-usage",
        "cRLSign",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, usage=key_usage("digital_signature", "crl_sign"))],
    ),
    (
        "wrong-key-usage",
        "a server's only",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, extended=[ExtendedKeyUsageOID.SERVER_AUTH])],
    ),
    (
        "wrong-key-usage",
        "code signing only",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, extended=[ExtendedKeyUsageOID.CODE_SIGNING])],
    ),
    (
        "weak-key",
        "RSA of 1024 bits",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, key=rsa.generate_private_key(65537, 1024))],
    ),
    (
        "weak-key",
        "a curve that nobody asked for",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, key=ec.generate_private_key(ec.SECP256K1()))],
    ),
    ("weak-key", "Ed25519", lambda: [EAST_CA.leaf(EAST_GATEWAY, key=ed25519.Ed25519PrivateKey.generate())]),
    (
        "expired",
        "a second ago",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, not_after=NOW - timedelta(seconds=1))],
    ),
    (
        "expired",
        "an intermediate",
        lambda: [
            (ca := EAST_CA.intermediate(not_after=NOW - timedelta(hours=1))).leaf(EAST_GATEWAY),
            ca.der,
        ],
    ),
    (
        "not-yet-valid",
        "in a second",
        lambda: [EAST_CA.leaf(EAST_GATEWAY, not_before=NOW + timedelta(seconds=1))],
    ),
    ("unknown-authority", "self-made", lambda: [Forge.root("east").leaf(EAST_GATEWAY)]),
    ("unknown-authority", "its intermediate left out", lambda: [EAST_CA.intermediate().leaf(EAST_GATEWAY)]),
    (
        "unknown-authority",
        "its own root sent along",
        lambda: [(ca := Forge.root("mallory")).leaf(EAST_GATEWAY), ca.der],
    ),
    (
        "unknown-authority",
        "a critical extension that nobody knows",
        lambda: [
            EAST_CA.leaf(
                EAST_GATEWAY,
                more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True)],
            )
        ],
    ),
    (
        "unknown-authority",
        "an intermediate for another trust domain",
        lambda: [
            (
                ca := EAST_CA.intermediate(
                    more=[(x509.NameConstraints([x509.UniformResourceIdentifier(WEST)], None), True)]
                )
            ).leaf(EAST_GATEWAY),
            ca.der,
        ],
    ),
    ("not-a-gateway", "a workload of ours", lambda: [EAST_CA.leaf(f"spiffe://{EAST}/ns/shop/sa/web")]),
    ("not-a-gateway", "the controller", lambda: [EAST_CA.leaf(EAST_CONTROLLER)]),
    ("not-a-gateway", "more path than a gateway's", lambda: [EAST_CA.leaf(EAST_GATEWAY + "/x")]),
]


@pytest.mark.parametrize(
    ("code", "case"), [pytest.param(code, case, id=f"{code}: {what}") for code, what, case in REJECTED]
)
def test_each_wrong_certificate_has_its_own_reason(code: str, case: Case) -> None:
    """Operators find the cause by the code alone."""
    assert rejection(case()) == code


def test_the_table_covers_every_reason() -> None:
    """A reason that no certificate can bring about is not a reason. Two belong to records, below, and one to what the
    bundle says of a certificate."""
    elsewhere = {"not-a-record-signer", "wrong-root", "revoked"}
    assert {code for code, _, _ in REJECTED} == set(get_args(RejectionCode)) - elsewhere


def test_a_revoked_certificate_is_refused() -> None:
    """By its serial number, or for the gateway that it was issued to; its trust domain alone can say so."""
    leaf = EAST_CA.leaf(EAST_GATEWAY, subject="gw-1")
    certificate = x509.load_der_x509_certificate(leaf)
    ends = int(certificate.not_valid_after_utc.timestamp())
    lists = {
        "by serial": Revocations(serials={f"{certificate.serial_number:x}": ends}),
        "by gateway": Revocations(gateways={"gw-1": ends}),
        "for good": Revocations(gateways={"gw-1": FOREVER}),
    }
    for name, revoked in lists.items():
        with pytest.raises(PeerRejected) as caught:
            validate_gateway([leaf], BUNDLES, NOW, revoked={EAST: revoked})
        assert caught.value.code == "revoked", name
        assert validate_gateway([leaf], BUNDLES, NOW, revoked={WEST: revoked}) == gateway_id(EAST), name
    others = Revocations({"gw-1": ends - 1, "gw-2": FOREVER}, {"abc": ends})
    assert validate_gateway([leaf], BUNDLES, NOW, revoked={EAST: others}) == gateway_id(EAST), (
        "it ends later: it is a new one"
    )


def test_a_gateway_is_let_in() -> None:
    """The plain case, for both trust domains."""
    assert validate_gateway([EAST_CA.leaf(EAST_GATEWAY)], BUNDLES, NOW) == gateway_id(EAST)
    assert validate_gateway([WEST_CA.leaf(WEST_GATEWAY)], BUNDLES, NOW) == gateway_id(WEST)


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(lambda: EAST_CA.leaf(EAST_GATEWAY, dns=["gw.east.acme.test"]), id="a DNS name beside it"),
        pytest.param(lambda: EAST_CA.leaf(EAST_GATEWAY, subject="gw"), id="a subject, so the name is not critical"),
        pytest.param(lambda: EAST_CA.leaf(EAST_GATEWAY, extended=[]), id="no extended key usage"),
        pytest.param(lambda: EAST_CA.leaf(EAST_GATEWAY, ca=None), id="no basic constraints"),
        pytest.param(lambda: EAST_CA.leaf(EAST_GATEWAY, key=rsa.generate_private_key(65537, 2048)), id="RSA 2048"),
        pytest.param(
            lambda: EAST_CA.leaf(EAST_GATEWAY, key=ec.generate_private_key(ec.SECP384R1())), id="ECDSA on P-384"
        ),
    ],
)
def test_what_x509_svid_leaves_open_is_accepted(leaf: Callable[[], bytes]) -> None:
    """Other issuers (SPIRE, Istio, cert-manager) make these shapes; the web PKI's own rules would refuse some."""
    assert validate_gateway([leaf()], BUNDLES, NOW) == gateway_id(EAST)


def test_another_trust_domains_root_never_speaks_for_ours() -> None:
    """The reason for this second validation: both roots are loaded, so TLS itself accepts west's signature under
    east's name."""
    assert rejection([WEST_CA.leaf(EAST_GATEWAY)]) == "unknown-authority"
    assert rejection([WEST_CA.leaf(EAST_GATEWAY), WEST_CA.der]) == "unknown-authority"
    cross = EAST_CA.intermediate()
    assert rejection([cross.leaf(WEST_GATEWAY), cross.der]) == "unknown-authority"


def test_a_root_of_the_same_name_is_another_root() -> None:
    """An attacker can copy a name, not a key; and the copy in the chain must not hide the real one."""
    copy = Forge.root("east")
    assert rejection([copy.leaf(EAST_GATEWAY), copy.der]) == "unknown-authority"
    assert validate_gateway([EAST_CA.leaf(EAST_GATEWAY), copy.der], BUNDLES, NOW) == gateway_id(EAST)


def test_two_roots_in_a_bundle_during_a_rotation() -> None:
    """Old and new SVIDs are valid side by side, also while both roots have one name."""
    new = Forge.root("east")
    bundles = {EAST: [EAST_CA.der, new.der]}
    for root in (EAST_CA, new):
        assert validate_gateway([root.leaf(EAST_GATEWAY)], bundles, NOW) == gateway_id(EAST)
    assert rejection([EAST_CA.leaf(EAST_GATEWAY)], {EAST: [new.der]}) == "unknown-authority"


def test_an_empty_bundle_means_that_all_is_revoked() -> None:
    """SPIFFE bundle section 4.1.3; it must not fall back to anything."""
    assert rejection([EAST_CA.leaf(EAST_GATEWAY)], {EAST: []}) == "unknown-authority"


def test_an_expired_root_is_named_as_the_cause() -> None:
    """'Unknown authority' would send the operator to the wrong place."""
    old = Forge.root("old", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))
    assert rejection([old.leaf(EAST_GATEWAY)], {EAST: [old.der]}) == "expired"
    assert rejection([Forge.root("other").leaf(EAST_GATEWAY)], {EAST: [old.der]}) == "unknown-authority"


def test_a_chain_through_an_intermediate() -> None:
    """Bring-your-own CAs sign with an intermediate; the root limits how many there may be."""
    intermediate = EAST_CA.intermediate()
    assert validate_gateway([intermediate.leaf(EAST_GATEWAY), intermediate.der], BUNDLES, NOW) == gateway_id(EAST)
    short = Forge.root("short", path_length=0)
    below = short.intermediate()
    assert rejection([below.leaf(EAST_GATEWAY), below.der], {EAST: [short.der]}) == "unknown-authority"


def test_a_leaf_cannot_sign_another_leaf() -> None:
    """A gateway's key must not be enough to make gateways."""
    key = p256()
    gateway = EAST_CA.leaf(EAST_GATEWAY, key=key, subject="gw")
    forged = Forge(x509.load_der_x509_certificate(gateway), key).leaf(EAST_GATEWAY)
    assert rejection([forged, gateway]) == "unknown-authority"


class TestRecordChain:
    """The check under which a peer's first bundle is believed."""

    @pytest.fixture
    def authority(self, tmp_path_factory: pytest.TempPathFactory) -> Authority:
        return Authority.load_or_create(tmp_path_factory.mktemp("state") / "trust", EAST, NOW)

    def test_the_pinned_root_certifies_the_record_key(self, authority: Authority) -> None:
        """What `peers.east.root` in a configuration leads to."""
        key = validate_record_chain(authority.record_chain, authority.fingerprint, EAST, NOW)
        assert key == authority.record_key.public_key

    def test_so_does_a_root_that_is_believed_already(self, authority: Authority) -> None:
        """With the root in the chain or without it."""
        for chain in (authority.record_chain, authority.record_chain[:1]):
            assert validate_record_chain(chain, [authority.root_der], EAST, NOW) == authority.record_key.public_key

    def check(self, chain: list[bytes], anchor: str | list[bytes], trust_domain: str = EAST) -> str:
        with pytest.raises(PeerRejected) as caught:
            validate_record_chain(chain, anchor, trust_domain, NOW)
        return caught.value.code

    def test_another_root_than_the_pinned_one(self, authority: Authority, tmp_path: Path) -> None:
        """Whoever can write to etcd can write a whole chain of their own."""
        mallory = Authority.load_or_create(tmp_path / "trust", EAST, NOW)
        assert self.check(mallory.record_chain, authority.fingerprint) == "wrong-root"
        assert self.check([mallory.record_chain[0], authority.root_der], authority.fingerprint) == "unknown-authority"
        assert self.check(mallory.record_chain, [authority.root_der]) == "unknown-authority"

    def test_the_root_must_be_there_to_be_pinned(self, authority: Authority) -> None:
        """A lone certificate can't be its own proof, not even the root."""
        assert self.check([], authority.fingerprint) == "no-certificate"
        assert self.check([authority.root_der], authority.fingerprint) == "no-certificate"

    def test_a_gateway_may_not_sign_records(self, authority: Authority) -> None:
        """Workers hold gateway keys and face the network; the controller's key does not."""
        chain = authority.issue_gateway(make_signing_request(PrivateKey.generate()), now=NOW, lifetime_s=60)
        assert self.check([*chain, authority.root_der], authority.fingerprint) == "not-a-record-signer"

    def test_another_trust_domains_controller(self, authority: Authority) -> None:
        """A valid controller speaks for its own trust domain only."""
        assert self.check(authority.record_chain, authority.fingerprint, WEST) == "wrong-trust-domain"

    def test_records_are_signed_with_p256_only(self) -> None:
        """ES256 is the one algorithm; a key for another must not reach the verifier."""
        chain = [EAST_CA.leaf(EAST_CONTROLLER, key=ec.generate_private_key(ec.SECP384R1()))]
        assert self.check(chain, [EAST_CA.der]) == "weak-key"

    def test_a_record_chain_is_no_gateways(self, authority: Authority) -> None:
        """The controller's certificate does not open the mesh port."""
        assert rejection(authority.record_chain, {EAST: [authority.root_der]}) == "not-a-gateway"
