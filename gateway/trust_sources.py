"""Makes the source of this cluster's trust that its configuration names."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from federation.federation import Federation
from gateway.ca_renewal import CaRenewal
from gateway.config import Config
from gateway.fleet import Fleet
from gateway.trust_keeper import TrustKeeper
from gateway.trust_orders import OrderFiles
from trust.ca_files import load_ca
from trust.errors import TrustError
from trust.external_authority import ExternalAuthority, FormerRoot, load_former
from trust.keyring import Keyring
from trust.keys import PrivateKey
from trust.source import TrustSource

_RECORD_KEY = "record.key"
FORMER_ROOTS = "former-roots.json"
_OWN = "trust"
"""Where a root of our own is kept, below the state directory."""


class SigningSource(TrustSource, Protocol):
    """A source that certifies the keys that gateways make."""

    def issue_gateway(self, csr_der: bytes, *, now: datetime, lifetime_s: float, gateway: str = "") -> list[bytes]: ...


def open_authority(config: Config, now: datetime) -> SigningSource:
    """Raises TrustError."""
    trust_domain, own = config.cluster.trust_domain, config.state_dir / _OWN
    if config.trust.ca_dir is None:
        return Keyring.load_or_create(own, trust_domain, now)
    ca = load_ca(config.trust.ca_dir, trust_domain, now)
    former = load_former(config.state_dir / FORMER_ROOTS) or _former_own(config, now)
    record_key = _record_key(config, now)
    return ExternalAuthority(ca, record_key, svid_lifetime_s=config.trust.svid_lifetime_s, now=now, former=former)


def ca_renewal(config: Config, authority: TrustSource, federation: Federation) -> CaRenewal | None:
    """What follows the CA's files; None where there are none."""
    if config.trust.ca_dir is None or not isinstance(authority, ExternalAuthority):
        return None
    return CaRenewal(config.trust.ca_dir, authority, federation, config.state_dir / FORMER_ROOTS)


def trust_keeper(config: Config, authority: TrustSource, federation: Federation, fleet: Fleet) -> TrustKeeper | None:
    """What rotates a root of our own; None where the CA is somebody else's."""
    if not isinstance(authority, Keyring):
        return None
    return TrustKeeper(authority, federation, fleet, OrderFiles(config.state_dir))


def _record_key(config: Config, now: datetime) -> PrivateKey:
    """The key that signs our records: one of our own also where the CA is not. A cluster that had a root of its own
    before keeps its record key, by which its peers go on believing it. Raises TrustError."""
    path, before = config.state_dir / _RECORD_KEY, config.state_dir / _OWN
    if path.exists():
        return PrivateKey.load(path)
    trust_domain = config.cluster.trust_domain
    had_own = before.is_dir() and any(before.iterdir())
    key = Keyring.load_or_create(before, trust_domain, now).record_key if had_own else PrivateKey.generate()
    try:
        key.save(path)
    except OSError as error:
        raise TrustError("unreadable-file", f"{path}: the record key can't be written: {error}") from error
    return key


def _former_own(config: Config, now: datetime) -> tuple[FormerRoot, ...]:
    """The root of our own that this CA takes the place of: workers that run hold SVIDs under it."""
    directory = config.state_dir / _OWN
    if not directory.exists() or (config.state_dir / _RECORD_KEY).exists():
        return ()
    own = Keyring.load_or_create(directory, config.cluster.trust_domain, now)
    return (FormerRoot(own.root_der, now.timestamp() + config.trust.svid_lifetime_s),)
