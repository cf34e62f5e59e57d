"""Who is at the other end? The check that decides it, once for every connection, and the one for signed bundles.

Python's `ssl` accepts a chain to any root of any trust domain that it was given. Therefore the chain is verified
here again, against the bundle of the one trust domain that its SPIFFE ID names, and against nothing else.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from trust.certificate import PARSE_ERRORS, parse_certificate, spiffe_id_of, validate_leaf, validate_period
from trust.errors import PeerRejected
from trust.fingerprint import fingerprint_of
from trust.revocation import Revocations, validate_not_revoked
from trust.spiffe_id import SpiffeId, controller_id, gateway_id

MAX_CHAIN_LENGTH = 8
NOTHING_REVOKED: Mapping[str, Revocations] = {}

# RFC 5280 path validation with the web PKI's algorithms, less what the CA/Browser forum adds and SPIFFE does not:
# key identifiers are optional, and the name's criticality does not depend on the subject.
_CA_POLICY = (
    ExtensionPolicy.webpki_defaults_ca()
    .may_be_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
    .may_be_present(x509.SubjectKeyIdentifier, Criticality.AGNOSTIC, None)
    .may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
)
_LEAF_POLICY = (
    ExtensionPolicy.webpki_defaults_ee()
    .may_be_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
    .may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
)


def validate_gateway(
    chain: Sequence[bytes],
    bundles: Mapping[str, Sequence[bytes]],
    now: datetime,
    workloads: Container[SpiffeId] = (),
    revoked: Mapping[str, Revocations] = NOTHING_REVOKED,
) -> SpiffeId:
    """Checks that a peer is a gateway of one of the trust domains that we believe, or one of `workloads` there, and
    returns its SPIFFE ID.

    `chain` is DER, leaf first, as the peer sent it; the TLS handshake must have proven possession of the leaf's key.
    `bundles` gives the DER roots of each trust domain, `revoked` what each has revoked. Raises PeerRejected.
    """
    leaf, intermediates = _parse_chain(chain)
    identity = _leaf_identity(leaf)
    roots = bundles.get(identity.trust_domain)
    if roots is None:
        raise PeerRejected(
            "wrong-trust-domain", f"{identity}: its trust domain is not one that is expected here; see `peers`"
        )
    _validate_path(leaf, intermediates, [parse_certificate(root) for root in roots], now)
    if identity != gateway_id(identity.trust_domain) and identity not in workloads:
        raise PeerRejected(
            "not-a-gateway", f"{identity} is valid, but only {gateway_id(identity.trust_domain)} may use this port"
        )
    validate_not_revoked(leaf, revoked.get(identity.trust_domain, Revocations()))
    return identity


def validate_endpoint(chain: Sequence[bytes], roots: Sequence[bytes], expected: SpiffeId, now: datetime) -> None:
    """Checks that a server proved by `chain` (DER, leaf first) to be `expected`, by the DER roots of its trust domain.

    Raises PeerRejected.
    """
    leaf, intermediates = _parse_chain(chain)
    identity = _leaf_identity(leaf)
    if identity != expected:
        raise PeerRejected("wrong-trust-domain", f"{identity} answered, and {expected} was expected")
    _validate_path(leaf, intermediates, [parse_certificate(root) for root in roots], now)


def validate_record_chain(
    chain: Sequence[bytes], anchor: str | Sequence[bytes], trust_domain: str, now: datetime
) -> ec.EllipticCurvePublicKey:
    """Checks that a chain certifies a record key of `trust_domain`, and returns that P-256 key.

    `anchor` is either the pinned fingerprint of the root (as `fingerprint_of` gives it), and then the root is in
    `chain`, with what leads to it before it; or the DER roots that are believed already. Raises PeerRejected.
    """
    if isinstance(anchor, str):
        chain, roots = _split_pinned_root(chain, anchor)
    else:
        roots = [parse_certificate(root) for root in anchor]
    leaf, intermediates = _parse_chain(chain)
    identity = _leaf_identity(leaf)
    if identity.trust_domain != trust_domain:
        detail = (
            f"{identity} signs a record that belongs to {trust_domain}: if it is that peer, correct its trust_domain"
        )
        raise PeerRejected("wrong-trust-domain", detail)
    _validate_path(leaf, intermediates, roots, now)
    if identity != controller_id(trust_domain):
        raise PeerRejected("not-a-record-signer", f"{identity}: only {controller_id(trust_domain)} may sign records")
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise PeerRejected("weak-key", f"{identity}: records are signed with P-256 keys only")
    return key


def _split_pinned_root(chain: Sequence[bytes], pin: str) -> tuple[Sequence[bytes], list[x509.Certificate]]:
    """What comes before the pinned root in a chain, and that root. A cluster that is replacing its root shows both: the
    new one, and behind it the link by which the old one vouches for it (RFC 4210 section 4.4)."""
    if len(chain) < 2:
        raise PeerRejected("no-certificate", "the chain does not end in its root certificate, so no pin can match it")
    fingerprints = [fingerprint_of(der) for der in chain[:MAX_CHAIN_LENGTH]]
    if pin not in fingerprints[1:]:
        found = next(
            (fingerprint for fingerprint, der in zip(fingerprints[1:], chain[1:], strict=False) if _is_root(der)),
            fingerprints[-1],
        )
        raise PeerRejected(
            "wrong-root",
            f"the root's fingerprint is {found}, but {pin} is pinned: either it is somebody else, or it has replaced "
            f"its root and this gateway was not there to follow; ask its owner whether {found} is right, then pin it",
        )
    at = fingerprints.index(pin, 1)
    return chain[:at], [parse_certificate(chain[at])]


def _is_root(der: bytes) -> bool:
    certificate = parse_certificate(der)
    try:
        return certificate.subject == certificate.issuer
    except PARSE_ERRORS:
        return False


def _parse_chain(chain: Sequence[bytes]) -> tuple[x509.Certificate, list[x509.Certificate]]:
    if not chain:
        raise PeerRejected("no-certificate", "no certificate was presented")
    if len(chain) > MAX_CHAIN_LENGTH:
        raise PeerRejected("malformed", f"a chain of {len(chain)} certificates: at most {MAX_CHAIN_LENGTH} are read")
    leaf, *intermediates = (parse_certificate(der) for der in chain)
    return leaf, intermediates


def _leaf_identity(leaf: x509.Certificate) -> SpiffeId:
    validate_leaf(leaf)
    identity = spiffe_id_of(leaf)
    if not identity.path:
        raise PeerRejected("malformed-spiffe-id", f"{identity} has no path: only a CA's certificate may have that ID")
    return identity


def _validate_path(
    leaf: x509.Certificate, intermediates: list[x509.Certificate], roots: list[x509.Certificate], now: datetime
) -> None:
    validate_period(leaf, now, "the certificate")
    if not roots:
        raise PeerRejected("unknown-authority", "its trust domain's bundle is empty: every authority was revoked")
    try:
        # A self-signed certificate leads nowhere but to itself, and would only use up the search's depth.
        intermediates = [each for each in intermediates if each.subject != each.issuer]
        failure = _find_path(leaf, intermediates, roots, now)
        if failure:
            _explain_period([*intermediates, *roots], [leaf, *intermediates], now)
    except PARSE_ERRORS as error:
        # Names and keys are parsed where they are needed, also inside path building.
        raise PeerRejected("malformed", f"the chain can't be read: {str(error)[:200]!a}") from None
    if failure:
        raise PeerRejected(
            "unknown-authority", f"no chain to the bundle of the trust domain in its SPIFFE ID: {failure[:200]!a}"
        )


def _find_path(
    leaf: x509.Certificate, intermediates: list[x509.Certificate], roots: list[x509.Certificate], now: datetime
) -> str:
    """RFC 5280 path validation. Returns why there is no path, empty when there is one."""
    # The web PKI checks server names, which SVIDs do not have, only in its server profile. The client profile is
    # right for both directions, because `validate_leaf` has asked for both usages.
    verifier = (
        PolicyBuilder()
        .store(Store(roots))
        .time(now)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, intermediates)
    except VerificationError as error:
        return str(error)
    return ""


def _explain_period(authorities: list[x509.Certificate], issued: list[x509.Certificate], now: datetime) -> None:
    """Says so when a chain failed because an authority on its way has expired, which is what operators look for."""
    issuers = {certificate.issuer for certificate in issued}
    for authority in authorities:
        if authority.subject in issuers:
            validate_period(authority, now, "an authority's certificate")
