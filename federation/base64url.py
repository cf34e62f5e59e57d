"""Base64url without padding (RFC 4648, section 5, as RFC 7515 writes it), in its one canonical spelling. Pure."""

from __future__ import annotations

import base64


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """What `encode` made `text` of. Raises ValueError for every other text."""
    decoded = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if encode(decoded) != text:
        raise ValueError("not canonical base64url")
    return decoded
