"""A CA that somebody else keeps, read from a directory in cert-manager's layout, and checked before it is used.

`tls.crt` is the CA that signs and the chain above it, `tls.key` its key, `ca.crt` the root (or several, while one
replaces another). Source: RFC 5280 section 6.1, the X509-SVID standard, sections 3.2 and 4.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from trust.ca_key import CaKey
from trust.certificate import PARSE_ERRORS, encode_certificate, find_extension, validate_authority, validate_period
from trust.errors import PeerRejected, TrustError
from trust.issuance import issue_leaf
from trust.keys import PrivateKey
from trust.spiffe_id import SpiffeId, gateway_id
from trust.verify import MAX_CHAIN_LENGTH, validate_gateway

CERT_FILE, KEY_FILE, ROOTS_FILE = "tls.crt", "tls.key", "ca.crt"
CA_FILES = (CERT_FILE, KEY_FILE, ROOTS_FILE)

_MAX_FILE_BYTES = 262_144
_MAX_ROOTS = 8
_PROBE_LIFETIME = timedelta(minutes=1)


class ExternalCa(msgspec.Struct, frozen=True, eq=False):
    """A CA that may sign SVIDs of `trust_domain`. Made by `load_ca`."""

    trust_domain: str
    key: CaKey
    issuer: x509.Certificate
    """The certificate of `key`."""
    intermediates: tuple[bytes, ...]
    """What stands between an SVID and the root, DER, the issuer first; empty when the issuer is the root itself."""
    root_der: bytes
    """The root that the chain ends at."""
    roots: tuple[bytes, ...]
    """All that `ca.crt` holds, that one among them."""

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """All of it but the key, which belongs to the first (DER)."""
        return (encode_certificate(self.issuer), *self.intermediates, self.root_der, *self.roots)

    def __repr__(self) -> str:
        return f"<ExternalCa of {self.trust_domain} until {self.issuer.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}>"


def load_ca(directory: Path, trust_domain: str, now: datetime) -> ExternalCa:
    """Reads and checks the CA in `directory`.

    Raises TrustError: `incomplete-authority` (a file is missing), `unreadable-file`, `unsafe-permissions`,
    `malformed-key`, `malformed-chain`, `key-mismatch`, `ca-certificate` (it is none), `wrong-key-usage`, `weak-key`,
    `expired`, `not-yet-valid`, `unknown-authority` (it does not chain to ca.crt), `path-length`, `name-constraints`
    or `foreign-authority` (another trust domain's).
    """
    place = _generation(directory)
    missing = [name for name in CA_FILES if not (place / name).exists()]
    if missing:
        raise TrustError(
            "incomplete-authority",
            f"{directory}: {', '.join(missing)} is missing: a CA is {CERT_FILE} (the CA's certificate and the chain "
            f"above it), {KEY_FILE} and {ROOTS_FILE} (the root)",
        )
    key = CaKey.from_pem(_read(place / KEY_FILE, secret=True), str(directory / KEY_FILE))
    chain = _parse_certificates(_read(place / CERT_FILE), directory / CERT_FILE, MAX_CHAIN_LENGTH - 1)
    roots = _parse_certificates(_read(place / ROOTS_FILE), directory / ROOTS_FILE, _MAX_ROOTS)
    if not key.belongs_to(chain[0]):
        raise TrustError(
            "key-mismatch",
            f"{directory}: {KEY_FILE} is not the key of the first certificate in {CERT_FILE}: they are of different "
            "issues, or the chain is not in the order issuer first",
        )
    _check_certificates(directory, chain, roots, now)
    above, root = _order(directory, chain, roots)
    _check_path_lengths(directory, [*above, root])
    _check_trust_domain(directory, [*above, root], trust_domain)
    ca = ExternalCa(
        trust_domain=trust_domain,
        key=key,
        issuer=chain[0],
        intermediates=tuple(encode_certificate(certificate) for certificate in above),
        root_der=encode_certificate(root),
        roots=tuple(dict.fromkeys(encode_certificate(certificate) for certificate in roots)),
    )
    _probe(directory, ca, now)
    return ca


def _generation(directory: Path) -> Path:
    """Kubernetes replaces all files of a mounted secret at once, by one link: what it pointed to is of one issue."""
    data = directory / "..data"
    return data.resolve() if data.is_symlink() else directory


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        with open(path, "rb") as file:
            # The open file is checked, not the name, so that nothing can be swapped in between.
            status = os.fstat(file.fileno())
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TrustError("unreadable-file", f"{path}: it can't be read: {error.strerror}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise TrustError("unreadable-file", f"{path}: it is larger than {_MAX_FILE_BYTES} bytes")
    # The group may read: it is how a mounted secret reaches a process that is not root.
    if secret and status.st_mode & stat.S_IRWXO:
        raise TrustError(
            "unsafe-permissions",
            f"{path}: it is open to every user of this machine (mode {stat.S_IMODE(status.st_mode):04o}); run: "
            f"chmod 600 {path}; in a pod: defaultMode: 0440",
        )
    return content


def _parse_certificates(pem: bytes, path: Path, most: int) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except PARSE_ERRORS:
        raise TrustError("malformed-chain", f"{path}: not certificates in PEM: it is truncated or damaged") from None
    if len(certificates) > most:
        raise TrustError("malformed-chain", f"{path}: {len(certificates)} certificates: at most {most} are read")
    return certificates


def _check_certificates(
    directory: Path, chain: list[x509.Certificate], roots: list[x509.Certificate], now: datetime
) -> None:
    for name, certificates in ((CERT_FILE, chain), (ROOTS_FILE, roots)):
        for number, certificate in enumerate(certificates, 1):
            try:
                validate_authority(certificate)
                validate_period(certificate, now, f"certificate {number}")
            except PeerRejected as error:
                raise TrustError(error.code, f"{directory / name}, certificate {number}: {error}") from None  # type: ignore[arg-type]


def _order(
    directory: Path, chain: list[x509.Certificate], roots: list[x509.Certificate]
) -> tuple[list[x509.Certificate], x509.Certificate]:
    """The certificates below the root, and the root that they lead to."""
    for index, certificate in enumerate(chain):
        if certificate in roots:
            return chain[:index], certificate
        last = index == len(chain) - 1
        issuers = roots if last else chain[index + 1 : index + 2]
        found = next((issuer for issuer in issuers if _issued_by(certificate, issuer)), None)
        if found is None and not last:
            raise TrustError(
                "malformed-chain",
                f"{directory / CERT_FILE}: certificate {index + 1} is not signed by the next one: the order is the CA "
                "that signs first, then each one's issuer",
            )
        if found is not None and last:
            return chain, found
    raise TrustError(
        "unknown-authority",
        f"{directory}: {CERT_FILE} does not lead to {ROOTS_FILE}: its last certificate was issued by "
        f"{chain[-1].issuer.rfc4514_string()!a}, and no certificate in {ROOTS_FILE} signed it",
    )


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_path_lengths(directory: Path, path: list[x509.Certificate]) -> None:
    """How many CAs may stand below each (RFC 5280 section 4.2.1.9). `path` is the issuer first, the root last."""
    for below, certificate in enumerate(path):
        constraints = find_extension(certificate, x509.BasicConstraints)
        limit = constraints.path_length if constraints is not None else None
        if limit is not None and below > limit:
            raise TrustError(
                "path-length",
                f"{directory}: {certificate.subject.rfc4514_string()!a} allows {limit} CAs below it, and there are "
                f"{below}: have it issued with a longer path, or use a CA directly below it",
            )


def _check_trust_domain(directory: Path, path: list[x509.Certificate], trust_domain: str) -> None:
    own = str(SpiffeId(trust_domain, ""))
    names = find_extension(path[0], x509.SubjectAlternativeName)
    uris = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    foreign = [uri for uri in uris if uri != own]
    if foreign:
        raise TrustError(
            "foreign-authority",
            f"{directory / CERT_FILE}: it is the CA of {foreign[0][:256]!a}, and cluster.trust_domain is "
            f"{trust_domain}: correct one of them",
        )
    for certificate in path:
        constraints = find_extension(certificate, x509.NameConstraints)
        if constraints is not None:
            _check_name_constraints(directory, certificate, constraints, trust_domain)


def _check_name_constraints(
    directory: Path, certificate: x509.Certificate, constraints: x509.NameConstraints, trust_domain: str
) -> None:
    """Path validation, here and at peers, does not know constraints on URIs and fails by them (RFC 5280 section
    4.2.1.10 bids that)."""
    permitted, excluded = (
        [name.value for name in names or () if isinstance(name, x509.UniformResourceIdentifier)]
        for names in (constraints.permitted_subtrees, constraints.excluded_subtrees)
    )
    who = certificate.subject.rfc4514_string()
    if any(_matches(trust_domain, host) for host in excluded) or (
        permitted and not any(_matches(trust_domain, host) for host in permitted)
    ):
        raise TrustError(
            "foreign-authority",
            f"{directory}: {who!a} may not certify names of {trust_domain}: its name constraints leave it out",
        )
    if permitted or excluded:
        raise TrustError(
            "name-constraints",
            f"{directory}: {who!a} has name constraints on URIs, which peers can't check and refuse for that: have it "
            f"issued without; a URI name of {SpiffeId(trust_domain, '')} says as well whose CA it is",
        )


def _matches(trust_domain: str, constraint: str) -> bool:
    host = constraint.lower()
    return trust_domain.endswith(host) if host.startswith(".") else trust_domain == host


def _probe(directory: Path, ca: ExternalCa, now: datetime) -> None:
    """A peer that knows the root must believe what this CA signs: its own check, on a certificate for nobody."""
    key = PrivateKey.generate()
    identity = gateway_id(ca.trust_domain)
    try:
        leaf = issue_leaf(key.public_key, identity, ca.issuer, ca.key, now, _PROBE_LIFETIME)
        validate_gateway([encode_certificate(leaf), *ca.intermediates], {ca.trust_domain: [ca.root_der]}, now)
    except PeerRejected as error:
        raise TrustError("unknown-authority", f"{directory}: peers would refuse what this CA signs: {error}") from None
    except PARSE_ERRORS as error:
        raise TrustError("malformed-chain", f"{directory}: it can't sign: {str(error)[:200]!a}") from None
