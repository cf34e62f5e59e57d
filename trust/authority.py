"""A cluster's certificate authority: its root, the gateways' SVIDs, and the key that signs its records."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from trust.bundle import Bundle, RecordKey
from trust.certificate import PARSE_ERRORS, encode_certificate, spiffe_id_of, validate_authority, validate_leaf
from trust.errors import PeerRejected, TrustError
from trust.fingerprint import fingerprint_of
from trust.issuance import issue_leaf, issue_link, issue_root
from trust.keys import PrivateKey, require_private, sync_directory, write_durably
from trust.spiffe_id import SpiffeId, controller_id, gateway_id, parse_trust_domain

_FILES = ("ca.key", "ca.pem", "record.key", "record.pem")
_MAX_FILE_BYTES = 65_536

REFRESH_HINT_S = 300
"""How often a reader without a watch should look for a new bundle; SPIFFE's own default."""


class Authority:
    """The CA of one trust domain. Made by `load_or_create`.

    `root_der` is its certificate, `fingerprint` what other clusters pin. `record_key` signs what the cluster writes
    for others to read; `record_chain` (DER, leaf first, the root last) certifies it.
    """

    def __init__(
        self,
        trust_domain: str,
        key: PrivateKey,
        root: x509.Certificate,
        record_key: PrivateKey,
        record_certificate: x509.Certificate,
    ) -> None:
        self.trust_domain = trust_domain
        self.root_der = encode_certificate(root)
        self.fingerprint = fingerprint_of(self.root_der)
        self.record_key = record_key
        self.record_chain = [encode_certificate(record_certificate), self.root_der]
        self._key = key
        self._root = root

    def __repr__(self) -> str:
        return f"<Authority {self.trust_domain} {self.fingerprint}>"

    @classmethod
    def load_or_create(cls, directory: Path, trust_domain: str, now: datetime) -> Authority:
        """Loads the CA kept in `directory`, or makes it when the directory is missing or empty.

        The directory (0700) is the authority's own and holds `ca.key`, `ca.pem`, `record.key` and `record.pem`. It
        appears whole or not at all. Raises TrustError: `unsafe-permissions`, `incomplete-authority`,
        `unreadable-file`, `malformed-key`, `malformed-chain`, `key-mismatch`, `foreign-authority` (another trust
        domain's) or `malformed-spiffe-id`.
        """
        parse_trust_domain(trust_domain)
        try:
            if not directory.exists() or not any(directory.iterdir()):
                _create(directory, trust_domain, now)
            return _load(directory, trust_domain)
        except OSError as error:
            raise TrustError("unreadable-file", f"{directory}: the CA can't be read or made: {error}") from error

    @property
    def sequence(self) -> int:
        return 0

    @property
    def vouching_key(self) -> PrivateKey:
        return self.record_key

    def issue_gateway(self, csr_der: bytes, *, now: datetime, lifetime_s: float, gateway: str = "") -> list[bytes]:
        """Certifies a gateway's key: a chain in DER, leaf first, without the root. `gateway` is the id of the gateway,
        by which its certificates can be revoked.

        Only the key and the proof that its owner has it are taken from the request (PKCS #10, DER); the names it
        asks for are not. Raises TrustError with code `bad-signing-request` or `authority-not-valid`.
        """
        public_key = parse_request(csr_der)
        if not self._root.not_valid_before_utc <= now < self._root.not_valid_after_utc:
            raise TrustError(
                "authority-not-valid",
                f"the root of {self.trust_domain} is valid from {self._root.not_valid_before_utc} to "
                f"{self._root.not_valid_after_utc}, and now is {now}: set the clock, or rotate the root",
            )
        lifetime = timedelta(seconds=lifetime_s)
        identity = gateway_id(self.trust_domain)
        leaf = issue_leaf(public_key, identity, self._root, self._key, now, lifetime, common_name=gateway)
        return [encode_certificate(leaf)]

    def link_to(self, successor: Authority) -> bytes:
        """The successor's root, certified by ours (DER)."""
        return encode_certificate(issue_link(successor._root, self._root, self._key))

    def bundle(self, sequence: int) -> Bundle:
        """What other trust domains need to validate ours."""
        return Bundle(
            trust_domain=self.trust_domain,
            sequence=sequence,
            refresh_hint_s=REFRESH_HINT_S,
            authorities=(self.root_der,),
            record_keys=(RecordKey.of(self.record_key.public_key),),
        )


def parse_request(csr_der: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a signing request (PKCS #10, DER) proves to be its maker's. Raises TrustError with code
    `bad-signing-request`."""
    try:
        request = x509.load_der_x509_csr(csr_der)
        public_key = request.public_key()
        proven = request.is_signature_valid
    except PARSE_ERRORS as error:
        raise TrustError("bad-signing-request", "not a PKCS #10 signing request in DER") from error
    if not proven:
        raise TrustError("bad-signing-request", "the signing request's signature does not match its key")
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, ec.SECP256R1):
        raise TrustError("bad-signing-request", "the signing request's key is not P-256")
    return public_key


def _create(directory: Path, trust_domain: str, now: datetime) -> None:
    """Makes all four files beside `directory` and renames them into place at once: a crash leaves no half of a CA,
    and of two processes that start together one wins and the other fails."""
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        _fill(staging, trust_domain, now)
        os.rename(staging, directory)
    except BaseException:
        shutil.rmtree(staging)
        raise
    sync_directory(directory.parent)


def _fill(directory: Path, trust_domain: str, now: datetime) -> None:
    key, record_key = PrivateKey.generate(), PrivateKey.generate()
    root = issue_root(key, trust_domain, now)
    # As long as the root: readers trust the record key for being in the bundle, and need its certificate only
    # for the first bundle.
    life = root.not_valid_after_utc - now
    record = issue_leaf(record_key.public_key, controller_id(trust_domain), root, key, now, life)
    key.save(directory / "ca.key")
    record_key.save(directory / "record.key")
    write_durably(directory / "ca.pem", root.public_bytes(serialization.Encoding.PEM))
    write_durably(directory / "record.pem", record.public_bytes(serialization.Encoding.PEM))


def _load(directory: Path, trust_domain: str) -> Authority:
    require_private(directory.stat(), directory, "chmod 700")
    missing = [name for name in _FILES if not (directory / name).exists()]
    if missing:
        raise TrustError(
            "incomplete-authority",
            f"{directory}: {', '.join(missing)} is missing: restore it from a backup; or, to begin with a new root "
            "that every peer has to pin again, remove the directory",
        )
    root = _load_certificate(directory / "ca.pem", validate_authority, SpiffeId(trust_domain, ""))
    record = _load_certificate(directory / "record.pem", validate_leaf, controller_id(trust_domain))
    key = _load_key(directory / "ca.key", root)
    record_key = _load_key(directory / "record.key", record)
    try:
        root.verify_directly_issued_by(root)
        record.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise TrustError(
            "malformed-chain",
            f"{directory}: record.pem was not signed by ca.key, or ca.pem not by itself: "
            "the files belong to different authorities; restore all four from one backup",
        ) from None
    return Authority(trust_domain, key, root, record_key, record)


def _load_certificate(path: Path, validate: Callable[[x509.Certificate], None], expected: SpiffeId) -> x509.Certificate:
    with open(path, "rb") as file:
        pem = file.read(_MAX_FILE_BYTES)
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        validate(certificate)
        found = spiffe_id_of(certificate)
    except PARSE_ERRORS:
        raise TrustError(
            "malformed-chain", f"{path}: not a PEM certificate: it is truncated or damaged; restore it from a backup"
        ) from None
    except PeerRejected as error:
        raise TrustError("malformed-chain", f"{path}: {error}; restore it from a backup") from error
    if found != expected:
        raise TrustError(
            "foreign-authority",
            f"{path}: it is the certificate of {found}, expected {expected}: a cluster keeps its trust domain; "
            "correct cluster.trust_domain or state_dir",
        )
    return certificate


def _load_key(path: Path, certificate: x509.Certificate) -> PrivateKey:
    key = PrivateKey.load(path)
    if key.public_key != certificate.public_key():
        raise TrustError(
            "key-mismatch", f"{path}: the key does not belong to the certificate beside it; restore both from a backup"
        )
    return key
