"""Which keys a peer's records may be signed with: from the root that was pinned when we joined, to the bundle that
it vouches for, to the record keys in that bundle, and from there to the next bundle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from federation.errors import RecordRefused, RefusalCode
from federation.jws import RecordHeader, parse_header
from federation.record import Record
from trust.bundle import Bundle, parse_bundle
from trust.errors import PeerRejected, TrustError
from trust.fingerprint import fingerprint_of
from trust.verify import validate_record_chain


class Claim(NamedTuple):
    """A record that nobody has verified, and the key that it says it is signed with, which `PeerKeys.key_id` calls
    `key_id`. A digest that was signed with that key may vouch for its bytes: then nobody needs to."""

    raw: bytes
    key: ec.EllipticCurvePublicKey
    key_id: bytes
    is_vouched_for: bool = False


class PeerKeys:
    """The keys of one peer. `root` is the pinned fingerprint, as `trust.fingerprint` writes it."""

    def __init__(self, trust_domain: str, root: str) -> None:
        self.trust_domain = trust_domain
        self.root = root
        self.bundle: Bundle | None = None
        """The last bundle that was accepted."""
        self._keys: dict[str, ec.EllipticCurvePublicKey] = {}
        self._key_ids: dict[str, bytes] = {}
        self._usual = b"", b""
        """How the last record began whose signer was asked for, and who that was: mostly the next one's as well."""

    def __repr__(self) -> str:
        return f"PeerKeys({self.trust_domain}, sequence={self.sequence}, {len(self._keys)} record keys)"

    @property
    def sequence(self) -> int:
        """The accepted bundle's sequence; -1 before there is one."""
        return self.bundle.sequence if self.bundle is not None else -1

    @property
    def key_ids(self) -> frozenset[str]:
        """Of the record keys that the accepted bundle holds."""
        return frozenset(self._keys)

    def key_id(self, kid: str) -> bytes:
        """Which key it is that the accepted bundle calls `kid`, whatever another bundle calls so; empty: none."""
        return self._key_ids.get(kid, b"")

    def signer(self, raw: bytes) -> bytes:
        """Which key (`key_id`) a record says that it is signed with; empty: the accepted bundle has no such key."""
        header, key_id = self._usual
        if header and raw.startswith(header):
            return key_id
        try:
            key_id = self.key_id(parse_header(raw).kid)
        except RecordRefused:
            return b""
        end = raw.index(b".") + 1
        self._usual = raw[:end], key_id
        return key_id

    def claim(self, raw: bytes) -> Claim | None:
        """What has to be checked of a record other than the bundle; None where the accepted bundle has no such key."""
        try:
            kid = parse_header(raw).kid
        except RecordRefused:
            return None
        key, key_id = self._keys.get(kid), self._key_ids.get(kid)
        return Claim(raw, key, key_id) if key is not None and key_id else None

    def record_key(self, header: RecordHeader, now: float) -> ec.EllipticCurvePublicKey:
        """The key of a record other than the bundle: one that the accepted bundle holds. Raises RecordRefused."""
        key = self._keys.get(header.kid)
        if key is None:
            detail = f"the accepted bundle of {self.trust_domain} has no record key {header.kid[:64]!r}"
            raise RecordRefused(RefusalCode.UNKNOWN_KEY, detail)
        return key

    def bundle_key(self, header: RecordHeader, now: float) -> ec.EllipticCurvePublicKey:
        """The key of a bundle record: held by the bundle accepted before, or certified in the header's chain by one of
        that bundle's roots; by the pinned root only as long as there is no such bundle, because a root that was
        retired or revoked must not speak again (`now`: Unix seconds). Raises RecordRefused."""
        if header.kid in self._keys:
            return self._keys[header.kid]
        moment = datetime.fromtimestamp(now, UTC)
        anchor = self.bundle.authorities if self.bundle is not None else self.root
        try:
            return validate_record_chain(header.chain_der(), anchor, self.trust_domain, moment)
        except PeerRejected as error:
            detail = str(error) if self.bundle is None else self._why_lost(header, error)
            raise RecordRefused(RefusalCode.BAD_CHAIN, detail) from None

    def _why_lost(self, header: RecordHeader, error: PeerRejected) -> str:
        """Why a bundle is not taken that nothing in the one before it vouches for, and what to do."""
        root = next(iter(map(fingerprint_of, header.chain_der()[1:])), "")
        if not root or self.holds_root(root):
            return str(error)
        return (
            f"it is signed under root {root}, which the bundle that was believed until now does not hold: either it is "
            "somebody else, or it has replaced its root while this gateway was not there to follow; ask its owner "
            f"whether {root} is right, and pin that then"
        )

    def holds_root(self, fingerprint: str) -> bool:
        """Whether the accepted bundle has this root."""
        return self.bundle is not None and fingerprint in map(fingerprint_of, self.bundle.authorities)

    def signed_by_stranger(self, raw: bytes) -> bool:
        """Whether a record that was accepted before is signed with a key that the bundle does not hold any more."""
        try:
            return parse_header(raw).kid not in self._keys
        except RecordRefused:
            return True

    def accept(self, record: Record) -> bool:
        """Takes a verified bundle record; returns whether the bundle is another than before. Raises RecordRefused."""
        try:
            bundle = parse_bundle(record.value, self.trust_domain)
            keys = {key.kid: key.public_key for key in bundle.record_keys}
        except TrustError as error:
            raise RecordRefused(RefusalCode.MALFORMED_VALUE, str(error)[:256]) from None
        if bundle.sequence < self.sequence:
            detail = f"bundle sequence {bundle.sequence} is below {self.sequence}, which was accepted before"
            raise RecordRefused(RefusalCode.ROLLED_BACK, detail)
        before, self.bundle, self._keys = self.bundle, bundle, keys
        self._usual = b"", b""
        self._key_ids = {key.kid: f"{key.x}.{key.y}".encode() for key in bundle.record_keys}
        return bundle != before

    def follow(self, bundle: Bundle) -> bool:
        """Takes the bundle of a peer that writes no records; returns whether it is another than before."""
        before, self.bundle = self.bundle, bundle
        return bundle != before
