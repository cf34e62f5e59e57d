"""Roots of one peer that would stand in front of another's.

OpenSSL looks an issuer up by name and key identifier and tries the first root that fits; it does not try a second one
with the same name and identifier. The contexts of `trust.contexts` hold the roots of all peers, so a member that
publishes a root with another's name and identifier could make that other one's handshakes fail. Such a root is found
here, to be left out. Nobody is let in by it in any case: `trust.verify` asks each trust domain's own bundle.

Which of two is the real one is decided by what only its owner could make: a key identifier that follows from the key
(a second key with the same digest can't be found), then a signature by that key, then the pin.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from trust.certificate import PARSE_ERRORS, find_extension, parse_certificate
from trust.errors import PeerRejected
from trust.fingerprint import fingerprint_of


class Shadow(msgspec.Struct, frozen=True):
    """The root `der` of cluster `owner` looks like one of `other`, and is not."""

    owner: str
    der: bytes
    other: str

    def __str__(self) -> str:
        return (
            f"its root {fingerprint_of(self.der)} has the name and key identifier of a root of {self.other} and is "
            f"another: it is left out, because handshakes of {self.other} would fail by it; ask who runs {self.owner}"
        )


class _Root(msgspec.Struct, frozen=True):
    """What OpenSSL finds a root by, and how sure it is that its key's owner made it."""

    subject: tuple[tuple[str, str], ...]
    key_id: bytes
    """Empty: none, which fits every certificate."""
    derived: bool
    self_signed: bool

    def answers_to(self, other: _Root) -> bool:
        return self.subject == other.subject and (not self.key_id or not other.key_id or self.key_id == other.key_id)


def find_shadows(roots: Mapping[str, Sequence[bytes]], pinned: Mapping[str, str]) -> list[Shadow]:
    """The roots to leave out. `roots` are DER by cluster, `pinned` is each cluster's fingerprint from the
    configuration. Of two that are equally good none is left out."""
    known = [(owner, der, _read(der)) for owner, ders in roots.items() for der in ders]
    return list(_shadows([(owner, der, root) for owner, der, root in known if root is not None], pinned))


def _shadows(known: list[tuple[str, bytes, _Root]], pinned: Mapping[str, str]) -> Iterator[Shadow]:
    for (owner, der, root), (other, other_der, other_root) in combinations(known, 2):
        if owner == other or der == other_der or not root.answers_to(other_root):
            continue
        rank = (root.derived, root.self_signed, fingerprint_of(der) == pinned.get(owner))
        other_rank = (other_root.derived, other_root.self_signed, fingerprint_of(other_der) == pinned.get(other))
        if rank < other_rank:
            yield Shadow(owner, der, other)
        elif other_rank < rank:
            yield Shadow(other, other_der, owner)


@functools.lru_cache(maxsize=256)
def _read(der: bytes) -> _Root | None:
    """None for what can't be read: it stands in front of nobody, since OpenSSL can't read it either."""
    try:
        certificate = parse_certificate(der)
        identifier = find_extension(certificate, x509.SubjectKeyIdentifier)
        key_id = identifier.digest if identifier is not None else b""
        return _Root(
            subject=tuple(_canonical(certificate.subject)),
            key_id=key_id,
            derived=key_id in _derived_ids(certificate),
            self_signed=_is_self_signed(certificate),
        )
    except (PeerRejected, *PARSE_ERRORS):
        return None


def _canonical(name: x509.Name) -> Iterator[tuple[str, str]]:
    """Names are compared without regard to case and blanks, as OpenSSL does (RFC 5280 section 7.1)."""
    for part in name.rdns:
        for attribute in sorted(part, key=lambda one: one.oid.dotted_string):
            value = attribute.value
            text = value if isinstance(value, str) else value.hex()
            yield attribute.oid.dotted_string, " ".join(text.lower().split())


def _derived_ids(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """The identifiers that follow from the key: RFC 5280 section 4.2.1.2 method 1, and RFC 7093 section 2 method 1."""
    key = certificate.public_key()
    digest = x509.SubjectKeyIdentifier.from_public_key(key).digest
    form = (
        (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        if hasattr(key, "curve")
        else (serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    )
    bits = key.public_bytes(*form)
    return digest, hashlib.sha256(bits).digest()[:20]


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, *PARSE_ERRORS):
        return False
    return True
