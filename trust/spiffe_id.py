"""SPIFFE IDs: `spiffe://<trust domain>/<path>`.

Source: the SPIFFE-ID standard, section 2. Nothing is normalised: an ID that is not in its one canonical form is
refused, because IDs are compared as strings.
"""

from __future__ import annotations

import re

import msgspec

from trust.errors import TrustError

MAX_ID_BYTES = 2048
MAX_TRUST_DOMAIN_BYTES = 255

_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")

SYSTEM_NAMESPACE = "isthmus-system"
_GATEWAY_ACCOUNT = "isthmus-gateway"
_CONTROLLER_ACCOUNT = "isthmus-controller"


class SpiffeId(msgspec.Struct, frozen=True, order=True):
    """A parsed SPIFFE ID. `path` is empty (the trust domain itself, as its CA carries it) or begins with '/'."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"


def parse_spiffe_id(text: str) -> SpiffeId:
    """Parses the canonical form (SPIFFE-ID sections 2.1 to 2.3).

    Raises TrustError with code `malformed-spiffe-id`.
    """
    if len(text) > MAX_ID_BYTES:
        raise _malformed(text, f"it is longer than {MAX_ID_BYTES} bytes")
    if not text.startswith(_SCHEME):
        raise _malformed(text, f"it does not begin with {_SCHEME}")
    trust_domain, slash, rest = text[len(_SCHEME) :].partition("/")
    if _TRUST_DOMAIN.fullmatch(trust_domain) is None:
        raise _malformed(text, "its trust domain is not 1 to 255 characters of a-z, 0-9, '.', '-' and '_'")
    if slash:
        for segment in rest.split("/"):
            _check_segment(text, segment)
    return SpiffeId(trust_domain, slash + rest)


def parse_trust_domain(text: str) -> str:
    """Checks a trust domain's name and returns it as it is.

    Raises TrustError with code `malformed-spiffe-id`.
    """
    if _TRUST_DOMAIN.fullmatch(text) is None:
        raise TrustError(
            "malformed-spiffe-id",
            f"{_shown(text)} is not a trust domain: expected 1 to {MAX_TRUST_DOMAIN_BYTES} characters of a-z, 0-9, "
            "'.', '-' and '_' (no scheme, no port, no upper case)",
        )
    return text


def gateway_id(trust_domain: str) -> SpiffeId:
    """The identity that every gateway of a cluster has, and nothing else."""
    return workload_id(trust_domain, SYSTEM_NAMESPACE, _GATEWAY_ACCOUNT)


def controller_id(trust_domain: str) -> SpiffeId:
    """The identity that signs a cluster's records."""
    return workload_id(trust_domain, SYSTEM_NAMESPACE, _CONTROLLER_ACCOUNT)


def workload_id(trust_domain: str, namespace: str, service_account: str) -> SpiffeId:
    """`spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, the form that Istio and SPIRE use as well.

    Raises TrustError with code `malformed-spiffe-id` when a part has a character that an ID may not have.
    """
    identity = SpiffeId(parse_trust_domain(trust_domain), f"/ns/{namespace}/sa/{service_account}")
    for segment in (namespace, service_account):
        _check_segment(str(identity), segment)
    return identity


def _check_segment(text: str, segment: str) -> None:
    if segment in (".", ".."):
        raise _malformed(text, "its path has a '.' or '..' segment")
    if _SEGMENT.fullmatch(segment) is None:
        raise _malformed(
            text, "its path has an empty segment, or one with another character than a-z, A-Z, 0-9, '.', '-' and '_'"
        )


def _malformed(text: str, why: str) -> TrustError:
    return TrustError("malformed-spiffe-id", f"{_shown(text)} is not a SPIFFE ID: {why}")


def _shown(text: str) -> str:
    """Bounded and printable, because a peer may have chosen the text."""
    return ascii(text if len(text) <= 120 else text[:117] + "...")
