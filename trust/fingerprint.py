"""Fingerprints of certificates: what a person compares and pins in `peers`."""

from __future__ import annotations

import hashlib
import re

from trust.errors import TrustError

_PREFIX = "sha256:"
_HEX = re.compile(r"[0-9a-f]{64}")
_COLONS = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){31}")
_OPENSSL_LABEL = "sha256 fingerprint="


def fingerprint_of(der: bytes) -> str:
    """`sha256:` and 64 lower-case hexadecimal digits: the SHA-256 of a certificate's DER."""
    return _PREFIX + hashlib.sha256(der).hexdigest()


def parse_fingerprint(text: str) -> str:
    """Reads a fingerprint as a person may paste it and returns the form of `fingerprint_of`.

    Accepts `sha256:` and 64 hexadecimal digits, and what `openssl x509 -fingerprint -sha256` prints: pairs with
    colons between them, with or without its label. Raises TrustError with code `malformed-fingerprint`.
    """
    folded = text.strip().lower()
    digits = folded.removeprefix(_OPENSSL_LABEL).removeprefix(_PREFIX)
    if _COLONS.fullmatch(digits):
        return _PREFIX + digits.replace(":", "")
    if folded.startswith(_PREFIX) and _HEX.fullmatch(digits):
        return _PREFIX + digits
    shown = ascii(text if len(text) <= 120 else text[:117] + "...")
    raise TrustError(
        "malformed-fingerprint",
        f"{shown} is not a certificate's fingerprint: expected 'sha256:' and 64 hexadecimal digits, or the pairs "
        "that `openssl x509 -noout -fingerprint -sha256` prints",
    )
