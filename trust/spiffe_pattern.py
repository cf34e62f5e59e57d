"""Patterns over SPIFFE IDs, as an export's owner writes whom it lets in: `spiffe://west.acme.test/ns/web/sa/*`. Pure.

`*` stands for one whole segment of the path. The trust domain is always written out: who may speak for one is decided
by its bundle, so a pattern over several would say something about nobody in particular.
"""

from __future__ import annotations

import re

import msgspec

from trust.errors import TrustError
from trust.spiffe_id import SpiffeId, parse_spiffe_id

_ANY = "*"
_STAND_IN = "x"


class SpiffePattern(msgspec.Struct, frozen=True):
    trust_domain: str
    segments: tuple[str, ...]

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/{'/'.join(self.segments)}"

    def matches(self, identity: SpiffeId) -> bool:
        """
        >>> parse_pattern("spiffe://west/ns/web/sa/*").matches(SpiffeId("west", "/ns/web/sa/frontend"))
        True
        >>> parse_pattern("spiffe://west/ns/web/sa/*").matches(SpiffeId("west", "/ns/web/sa/frontend/more"))
        False
        """
        if identity.trust_domain != self.trust_domain:
            return False
        segments = identity.path.split("/")[1:]
        return len(segments) == len(self.segments) and all(
            wanted in (_ANY, segment) for wanted, segment in zip(self.segments, segments, strict=True)
        )


def parse_pattern(text: str) -> SpiffePattern:
    """Raises TrustError with code `malformed-spiffe-id` for what is neither a SPIFFE ID with a path nor a pattern."""
    # Apart from the stars it must be an ID: each is tried with something in its place.
    identity = parse_spiffe_id(re.sub(r"(?<=[^/]/)\*(?=/|$)", _STAND_IN, text))
    if not identity.path:
        raise TrustError("malformed-spiffe-id", f"{text!a} names a trust domain and nobody in it")
    return SpiffePattern(identity.trust_domain, tuple(text.split("/")[3:]))
