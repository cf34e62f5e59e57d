"""What a SPIFFE Workload API gives, and whether a cluster can work with it. Pure.

Source: the SPIFFE Workload API standard, section 5.2.1: each field is DER, chains and bundles concatenated, keys
PKCS #8.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from trust.certificate import parse_certificate, validate_authority
from trust.errors import PeerRejected, TrustError
from trust.keys import PrivateKey
from trust.spiffe_id import SpiffeId, controller_id, gateway_id
from trust.svid import X509Svid, svid_from
from trust.verify import MAX_CHAIN_LENGTH, validate_gateway, validate_record_chain

_MAX_ROOTS = 64
_SEQUENCE = 0x30
_LONG_FORM = 0x80


class WorkloadSvid(msgspec.Struct, frozen=True):
    """One SVID as it came; nothing of it is checked."""

    spiffe_id: str
    chain: bytes
    key: bytes
    bundle: bytes

    def __repr__(self) -> str:
        return f"<WorkloadSvid {self.spiffe_id[:256]!a}, redacted>"


class WorkloadIdentity(msgspec.Struct, frozen=True, eq=False):
    """The two identities of a cluster that SPIRE (or another) issues, and the roots of their trust domain (DER)."""

    gateway: X509Svid
    controller: X509Svid
    """Certifies our bundle: its key signs that, and nothing else."""
    roots: tuple[bytes, ...]
    root_der: bytes
    """The one of `roots` that the controller's chain leads to."""


def read_identity(svids: Sequence[WorkloadSvid], trust_domain: str, now: datetime) -> WorkloadIdentity:
    """Finds and checks both identities of `trust_domain` among what the API gave.

    Raises TrustError: `foreign-identity` when one of them is not there, `malformed-chain`, `malformed-key`,
    `key-mismatch`, or what a peer would refuse it for.
    """
    gateway, roots = _read(_find(svids, gateway_id(trust_domain)), gateway_id(trust_domain))
    controller, _ = _read(_find(svids, controller_id(trust_domain)), controller_id(trust_domain))
    validate_gateway(gateway.chain, {trust_domain: roots}, now)
    validate_record_chain(controller.chain, roots, trust_domain, now)
    root_der = next(root for root in roots if _leads_to(controller.chain, root, trust_domain, now))
    return WorkloadIdentity(gateway, controller, roots, root_der)


def _find(svids: Sequence[WorkloadSvid], wanted: SpiffeId) -> WorkloadSvid:
    for svid in svids:
        if svid.spiffe_id == str(wanted):
            return svid
    given = ", ".join(f"{svid.spiffe_id[:256]!a}" for svid in svids[:8]) or "no identity at all"
    raise TrustError(
        "foreign-identity",
        f"the Workload API gave {given}, and not {wanted}: register an entry of that SPIFFE ID for this process; both "
        "the gateway's and the controller's are needed",
    )


def _read(svid: WorkloadSvid, expected: SpiffeId) -> tuple[X509Svid, tuple[bytes, ...]]:
    where = f"the Workload API's key of {expected}"
    chain = split_der(svid.chain, MAX_CHAIN_LENGTH)
    found = svid_from(chain, PrivateKey.from_der(svid.key, where))
    if found.spiffe_id != expected:
        raise TrustError(
            "foreign-identity", f"the Workload API names {expected}, and its certificate is of {found.spiffe_id}"
        )
    roots = tuple(dict.fromkeys(split_der(svid.bundle, _MAX_ROOTS)))
    try:
        for root in roots:
            validate_authority(parse_certificate(root))
    except PeerRejected as error:
        raise TrustError("malformed-chain", f"a root of the Workload API's bundle: {error}") from None
    return found, roots


def _leads_to(chain: Sequence[bytes], root: bytes, trust_domain: str, now: datetime) -> bool:
    try:
        validate_record_chain(chain, [root], trust_domain, now)
    except PeerRejected:
        return False
    return True


def split_der(data: bytes, most: int) -> tuple[bytes, ...]:
    """Cuts certificates that stand one behind the other (X.690 section 8.1). Raises TrustError `malformed-chain`."""
    parts: list[bytes] = []
    while data:
        size = _element_size(data)
        if size is None or size > len(data) or len(parts) == most:
            raise TrustError("malformed-chain", f"the Workload API gave what is no row of at most {most} certificates")
        parts.append(data[:size])
        data = data[size:]
    return tuple(parts)


def _element_size(data: bytes) -> int | None:
    """The size in bytes of the SEQUENCE that `data` begins with; None where there is none."""
    if len(data) < 2 or data[0] != _SEQUENCE:
        return None
    first = data[1]
    if first < _LONG_FORM:
        return 2 + first
    count = first - _LONG_FORM
    if not 1 <= count <= 4 or len(data) < 2 + count:
        return None
    return 2 + count + int.from_bytes(data[2 : 2 + count], "big")
