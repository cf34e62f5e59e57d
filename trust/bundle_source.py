"""Whether a bundle that came from a bundle endpoint is believed. Pure.

Source: SPIFFE Federation, sections 4.2 and 5.2; SPIFFE Trust Domain and Bundle, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from trust.bundle import Bundle, parse_bundle
from trust.errors import TrustError
from trust.fingerprint import fingerprint_of
from trust.spiffe_id import SpiffeId
from trust.verify import validate_endpoint


class BundleSource(msgspec.Struct, frozen=True):
    """A bundle endpoint. All three of SPIFFE's parameters are given, never inferred; the trust domain is its user's."""

    url: str
    endpoint_id: SpiffeId | None = None
    """Who must answer, with the profile `https_spiffe`; None: the profile is `https_web`."""
    ca_file: str = ""
    """PEM of the CAs that may certify a web server; empty: the system's."""


class Fetched(msgspec.Struct, frozen=True):
    """What an endpoint answered. `chains` are the certificates (DER, leaf first) of each server that had a part in it:
    more than one where it was redirected."""

    document: bytes
    chains: tuple[tuple[bytes, ...], ...]


def accept_bundle(
    fetched: Fetched, source: BundleSource, trust_domain: str, root: str, known: Bundle | None, now: datetime
) -> Bundle:
    """The bundle of `trust_domain`, if it may take the place of `known` (None: nothing is known yet).

    `root` is a pinned fingerprint, or empty: the first bundle must hold it, and with `https_spiffe` the first answer
    must be certified by it; later answers by what is known. Raises TrustError: `malformed-bundle`, `wrong-root`,
    `rolled-back`, or what a server's certificate is refused for.
    """
    bundle = parse_bundle(fetched.document, trust_domain)
    anchors: Sequence[bytes]
    if known is None:
        anchors = [der for der in bundle.authorities if fingerprint_of(der) == root]
        if root and not anchors:
            raise TrustError(
                "wrong-root", f"the first bundle of {trust_domain} does not hold the pinned root {root}: ask its owner"
            )
    else:
        anchors = known.authorities
    if source.endpoint_id is not None:
        for chain in fetched.chains:
            validate_endpoint(chain, anchors, source.endpoint_id, now)
    if known is not None and bundle.sequence < known.sequence:
        raise TrustError(
            "rolled-back",
            f"the bundle's sequence {bundle.sequence} is below {known.sequence}, which was accepted before",
        )
    return bundle
