"""A cluster's trust when its CA is somebody else's: an intermediate that is renewed by changing its files.

A renewal under a root that peers know is taken at once. Under another root both are in the bundle first, and the old
CA goes on signing until peers know the new one (`activate`); the old root stays in the bundle until what it vouched for
has expired (`retire`). Whoever holds this object reads files and clocks, and publishes what has changed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from trust.authority import REFRESH_HINT_S, parse_request
from trust.bundle import Bundle, RecordKey
from trust.ca_files import ExternalCa
from trust.certificate import encode_certificate, parse_certificate, validate_authority
from trust.errors import PeerRejected, TrustError
from trust.fingerprint import fingerprint_of
from trust.issuance import issue_leaf
from trust.keys import PrivateKey, write_durably
from trust.spiffe_id import controller_id, gateway_id

_MAX_FILE_BYTES = 1_048_576


class FormerRoot(msgspec.Struct, frozen=True):
    """A root that signs no more, and is believed until `until` (Unix seconds) for what it has signed."""

    der: bytes
    until: float


class ExternalAuthority:
    """Implements `trust.source.TrustSource`, and signs gateways' requests. `waiting` is a CA under another root that
    does not sign yet."""

    def __init__(
        self,
        ca: ExternalCa,
        record_key: PrivateKey,
        *,
        svid_lifetime_s: float,
        now: datetime,
        former: tuple[FormerRoot, ...] = (),
    ) -> None:
        self.trust_domain = ca.trust_domain
        self.record_key = record_key
        self.waiting: ExternalCa | None = None
        self.former = tuple(root for root in former if root.der not in ca.roots)
        self._svid_lifetime_s = svid_lifetime_s
        self._use(ca, now)

    def __repr__(self) -> str:
        return f"<ExternalAuthority {self.trust_domain} {self.fingerprint}>"

    def _use(self, ca: ExternalCa, now: datetime) -> None:
        self.ca = ca
        life = ca.issuer.not_valid_after_utc - now
        identity = controller_id(ca.trust_domain)
        record = issue_leaf(self.record_key.public_key, identity, ca.issuer, ca.key, now, life)
        self.record_chain: tuple[bytes, ...] = (encode_certificate(record), *ca.intermediates, ca.root_der)

    @property
    def root_der(self) -> bytes:
        return self.ca.root_der

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.ca.root_der)

    @property
    def vouching_key(self) -> PrivateKey:
        return self.record_key

    @property
    def roots(self) -> tuple[bytes, ...]:
        """What others shall believe: the roots of the CA that signs, of the one that will, and of those before."""
        waiting = self.waiting.roots if self.waiting is not None else ()
        return tuple(dict.fromkeys([*self.ca.roots, *waiting, *(root.der for root in self.former)]))

    def bundle(self, sequence: int) -> Bundle:
        return Bundle(
            trust_domain=self.trust_domain,
            sequence=sequence,
            refresh_hint_s=REFRESH_HINT_S,
            authorities=self.roots,
            record_keys=(RecordKey.of(self.record_key.public_key),),
        )

    @property
    def sequence(self) -> int:
        return 0

    def issue_gateway(self, csr_der: bytes, *, now: datetime, lifetime_s: float, gateway: str = "") -> list[bytes]:
        """Certifies a gateway's key: a chain in DER, leaf first, without the root. `gateway` is the gateway's id.

        Raises TrustError with code `bad-signing-request` or `authority-not-valid`.
        """
        public_key = parse_request(csr_der)
        issuer = self.ca.issuer
        if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc:
            raise TrustError(
                "authority-not-valid",
                f"the CA of {self.trust_domain} in trust.ca_dir is valid from {issuer.not_valid_before_utc} to "
                f"{issuer.not_valid_after_utc}, and now is {now}: renew it",
            )
        identity = gateway_id(self.trust_domain)
        lifetime = timedelta(seconds=lifetime_s)
        leaf = issue_leaf(public_key, identity, issuer, self.ca.key, now, lifetime, common_name=gateway)
        return [encode_certificate(leaf), *self.ca.intermediates]

    def offer(self, ca: ExternalCa, now: datetime) -> None:
        """Takes what the files hold now. A CA under a root that is in the bundle already signs from here on."""
        if ca.root_der in self.ca.roots:
            self.waiting = ca
            self.activate(now)
        else:
            self.waiting = ca

    def activate(self, now: datetime) -> None:
        """The waiting CA signs from here on; roots that it does not name stay for as long as SVIDs live."""
        if self.waiting is None:
            return
        self.former = self.former_after(now)
        ca, self.waiting = self.waiting, None
        self._use(ca, now)

    def former_after(self, now: datetime) -> tuple[FormerRoot, ...]:
        """The former roots once the waiting CA signs."""
        if self.waiting is None:
            return self.former
        until = now.timestamp() + self._svid_lifetime_s
        kept = {root.der: root for root in self.former}
        kept |= {der: FormerRoot(der, until) for der in self.ca.roots}
        return tuple(root for der, root in kept.items() if der not in self.waiting.roots)

    def retire(self, now: datetime) -> bool:
        """Drops former roots whose time is over; returns whether there were any."""
        kept = tuple(root for root in self.former if root.until > now.timestamp())
        dropped, self.former = len(kept) < len(self.former), kept
        return dropped


def save_former(path: Path, roots: tuple[FormerRoot, ...]) -> None:
    """So that a restart in the middle of a change of roots goes on with it. Raises OSError."""
    write_durably(path, msgspec.json.encode(roots))


def load_former(path: Path) -> tuple[FormerRoot, ...]:
    """What `save_former` wrote; nothing when there is no such file. Raises TrustError with code `malformed-chain`."""
    try:
        with open(path, "rb") as file:
            roots = msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=list[FormerRoot])
        for root in roots:
            validate_authority(parse_certificate(root.der))
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError, ValueError, PeerRejected) as error:
        raise TrustError(
            "malformed-chain",
            f"{path}: the former roots can't be read: {error}; remove the file, and peers refuse what they signed",
        ) from None
    return tuple(roots)
