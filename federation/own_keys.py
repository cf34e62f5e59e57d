"""The keys that our own cluster's records are signed with: the one of now, those before and after it, and those that
another gateway of our cluster has and we don't. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from federation.errors import RecordRefused, RefusalCode
from federation.jws import RecordHeader
from federation.paths import BUNDLE, Path
from federation.record import peek_issued_at
from trust.bundle import RecordKey
from trust.errors import PeerRejected
from trust.source import TrustSource
from trust.verify import validate_record_chain


class OwnKeys:
    """Call `refresh` when what `authority` says has changed."""

    def __init__(self, authority: TrustSource) -> None:
        self._authority = authority
        self._followed: dict[str, ec.EllipticCurvePublicKey] = {}
        self.refresh()

    def refresh(self) -> None:
        signing = RecordKey.of(self._authority.record_key.public_key)
        self.kid = signing.kid
        self.key_id = f"{signing.x}.{signing.y}".encode()
        """As `PeerKeys.key_id` has it."""
        keys = self._authority.bundle(0).record_keys
        self._keys = {key.kid: key.public_key for key in keys}
        kids = [*self._keys]
        self._outdated = frozenset(kids[: kids.index(self.kid)]) if self.kid in self._keys else frozenset()

    def follow(self, keys: Iterable[RecordKey]) -> None:
        """Another gateway of our cluster said a bundle with these; none: ours is the latest."""
        self._followed = {key.kid: key.public_key for key in keys}

    @property
    def following(self) -> bool:
        return bool(self._followed)

    @property
    def any_outdated(self) -> bool:
        """Whether any key of ours will be retired: mostly none."""
        return bool(self._outdated) and not self._followed

    def is_outdated(self, kid: str) -> bool:
        """Whether what this key signed is to be signed anew: it will be retired."""
        return kid in self._outdated and not self._followed

    def knows(self, kid: str) -> bool:
        """Whether a key of ours, or one that another gateway of ours said, has this id."""
        return kid in self._keys or kid in self._followed

    def find(self, path: Path, header: RecordHeader, raw: bytes) -> ec.EllipticCurvePublicKey:
        """The key of a record of ours. Raises RecordRefused."""
        known = self._keys.get(header.kid) or self._followed.get(header.kid)
        if known is not None:
            return known
        if path != BUNDLE or not header.chain:
            raise RecordRefused(RefusalCode.UNKNOWN_KEY, "signed with another key than ours")
        return self._certified(header, raw)

    def _certified(self, header: RecordHeader, raw: bytes) -> ec.EllipticCurvePublicKey:
        """The key of a bundle that our roots certify: from before its certificate was renewed, or of another gateway
        that has gone further in a rotation. Judged as of when it signed."""
        roots, trust_domain = self._authority.bundle(0).authorities, self._authority.trust_domain
        try:
            moment = datetime.fromtimestamp(peek_issued_at(raw), UTC)
            return validate_record_chain(header.chain_der(), roots, trust_domain, moment)
        except (PeerRejected, ValueError, OverflowError, OSError) as error:
            raise RecordRefused(RefusalCode.BAD_CHAIN, f"not certified by our own roots: {error}") from None
