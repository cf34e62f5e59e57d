"""Private keys: P-256 only, on disk for their owner only, and never in a log, a repr or a pickle."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from trust.errors import TrustError

_MAX_FILE_BYTES = 65_536
_COORDINATE_BYTES = 32


class PrivateKey:
    """An ECDSA key on P-256. It shows and gives away nothing of itself but what its methods are named for."""

    __slots__ = ("_key",)

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(key.curve, ec.SECP256R1):
            raise TrustError("malformed-key", f"the key is on curve {key.curve.name}: expected P-256 (secp256r1)")
        self._key = key

    @classmethod
    def generate(cls) -> PrivateKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes, where: str = "the key") -> PrivateKey:
        """Parses an unencrypted PEM key (PKCS #8 or SEC 1). `where` names its origin in errors.

        Raises TrustError with code `malformed-key`.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The parser's own text is left out: it helps nobody, and it saw the secret.
            raise TrustError(
                "malformed-key",
                f"{where} is not an unencrypted PEM private key: it is truncated or damaged; restore it from a backup",
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TrustError("malformed-key", f"{where} is not an elliptic curve key: expected P-256")
        return cls(key)

    @classmethod
    def from_der(cls, der: bytes, where: str = "the key") -> PrivateKey:
        """Parses an unencrypted PKCS #8 key in DER. Raises TrustError with code `malformed-key`."""
        try:
            key = serialization.load_der_private_key(der, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise TrustError("malformed-key", f"{where} is not an unencrypted PKCS #8 key in DER") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TrustError(
                "malformed-key", f"{where} is not an elliptic curve key: have P-256 keys made (in SPIRE: ec-p256)"
            )
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> PrivateKey:
        """Reads a key file that belongs to this user and that nobody else may touch.

        Raises TrustError with code `unreadable-file`, `unsafe-permissions` or `malformed-key`.
        """
        try:
            with open(path, "rb") as file:
                # The open file is checked, not the name, so that nothing can be swapped in between.
                require_private(os.fstat(file.fileno()), path, "chmod 600")
                pem = file.read(_MAX_FILE_BYTES)
        except OSError as error:
            raise TrustError("unreadable-file", f"{path}: cannot read the key: {error.strerror}") from error
        return cls.from_pem(pem, where=str(path))

    def save(self, path: Path) -> None:
        """Writes the key with mode 0600, whole or not at all: a new file, fsync, rename, fsync of the directory."""
        write_durably(path, self.expose_private_pem())

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def sign(self, message: bytes) -> bytes:
        """ES256 in the form that JWS wants (RFC 7518 section 3.4): r and s, 32 bytes each, big-endian."""
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    def sign_certificate(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())

    def sign_request(self, builder: x509.CertificateSigningRequestBuilder) -> x509.CertificateSigningRequest:
        return builder.sign(self._key, hashes.SHA256())

    def expose_private_pem(self) -> bytes:
        """The secret itself, PKCS #8 PEM without a password. For a key file and for OpenSSL, nothing else."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def expose_private_der(self) -> bytes:
        """The same in DER: for a worker, over the control socket."""
        return self._key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return "<PrivateKey P-256, redacted>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a private key is not pickled or copied: it stays in the process that made or loaded it")


def require_private(status: os.stat_result, path: Path, remedy: str) -> None:
    """Raises TrustError with code `unsafe-permissions` unless only this process's user may touch the file."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise TrustError(
            "unsafe-permissions", f"{path}: others than its owner may use it (mode {mode:04o}); run: {remedy} {path}"
        )
    if status.st_uid != os.geteuid():
        raise TrustError(
            "unsafe-permissions",
            f"{path}: it belongs to user {status.st_uid}, this process runs as user {os.geteuid()}; "
            "run as its owner, or change its owner",
        )


def write_durably(path: Path, content: bytes) -> None:
    """Puts a file with mode 0600 in place, whole or not at all, also if the machine stops in the middle."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes names that were created or renamed in a directory survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
