"""A member that copies the name and key identifier of another's root must not shut that other one out."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.forge import Forge, der_of, key_usage, p256
from tests.gateway_ends import make_authority, make_identity
from trust.authority import Authority
from trust.contexts import client_context, server_context
from trust.fingerprint import fingerprint_of
from trust.shadowing import find_shadows


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("victim"), "west")


def imitate(root: x509.Certificate, *, own_key: bool, key_id: bool = True, upper: bool = False) -> bytes:
    """A certificate with the root's name, and its key identifier, signed by a key that is not the root's. Not
    `own_key`: it has the root's public key too, and a constraint that no SVID of the root fulfils."""
    key = p256()
    subject = root.subject
    if upper:
        subject = x509.Name([x509.NameAttribute(a.oid, str(a.value).upper() + " ") for a in root.subject])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key() if own_key else root.public_key())
        .serial_number(root.serial_number)
        .not_valid_before(root.not_valid_before_utc)
        .not_valid_after(root.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage("key_cert_sign"), critical=True)
    )
    if key_id:
        original = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(original, critical=False)
    if not own_key:
        nothing = x509.NameConstraints(None, [x509.UniformResourceIdentifier("west.test")])
        builder = builder.add_extension(nothing, critical=True)
    return der_of(builder.sign(key, hashes.SHA256()))


@pytest.mark.parametrize(
    ("own_key", "key_id", "upper"),
    [(True, True, False), (True, False, False), (True, True, True), (False, True, False)],
    ids=["another key", "no key identifier", "another spelling", "the same key, constrained"],
)
@pytest.mark.parametrize("is_pinned", [False, True], ids=["", "pinned"])
@pytest.mark.parametrize("first", ["aaa", "zzz"])
def test_an_imitation_is_found(
    victim: Authority, own_key: bool, key_id: bool, upper: bool, is_pinned: bool, first: str
) -> None:
    """Whoever comes first, and also if an operator was talked into pinning it."""
    root = x509.load_der_x509_certificate(victim.root_der)
    copy = imitate(root, own_key=own_key, key_id=key_id, upper=upper)
    roots = dict(sorted({first: [copy], "west": [victim.root_der]}.items()))
    pinned = {first: fingerprint_of(copy)} if is_pinned else {}
    (shadow,) = find_shadows(roots, pinned)
    assert (shadow.owner, shadow.der, shadow.other) == (first, copy, "west")
    assert fingerprint_of(copy) in str(shadow)


def test_it_would_really_do_harm(victim: Authority) -> None:
    """The reason for all this: with the copy in front, OpenSSL refuses the victim; once it does not, this fails."""
    copy = imitate(x509.load_der_x509_certificate(victim.root_der), own_key=True)
    svid = make_identity(victim).svid
    assert svid is not None
    for roots, works in (([copy, victim.root_der], False), ([victim.root_der], True)):
        server = _Side(server_context(svid, roots), server=True)
        client = _Side(client_context(svid, [victim.root_der]), server=False)
        assert _shake(client, server) is works


def test_others_are_left_alone(victim: Authority, tmp_path: Path) -> None:
    """Other names, the very same certificate, a cluster's own old and new root, what can't be read."""
    other = make_authority(tmp_path, "eu")
    west = x509.load_der_x509_certificate(victim.root_der)
    own_copy = imitate(west, own_key=True)
    roots = {
        "west": [victim.root_der, own_copy, b"not a certificate"],
        "eu": [other.root_der, victim.root_der, b"nor this"],
    }
    assert [(shadow.owner, shadow.der) for shadow in find_shadows(roots, {})] == [("west", own_copy)]
    assert find_shadows({"west": [victim.root_der, own_copy], "eu": [other.root_der]}, {}) == []


def test_equals_are_left_to_their_order() -> None:
    """Two roots of one name without key identifiers: nothing says whose it is, unless one is pinned."""
    one, two = Forge.root("same").der, Forge.root("SAME").der
    assert find_shadows({"a": [one], "b": [two]}, {}) == []
    (shadow,) = find_shadows({"a": [one], "b": [two]}, {"b": fingerprint_of(two)})
    assert (shadow.owner, shadow.other) == ("a", "b")


class _Side:
    """One end of a handshake in memory."""

    def __init__(self, context: ssl.SSLContext, *, server: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server)


def _shake(client: _Side, server: _Side) -> bool:
    for _ in range(4):
        for side, other in ((client, server), (server, client)):
            try:
                side.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
            other.incoming.write(side.outgoing.read())
    return True
