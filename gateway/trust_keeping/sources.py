"""Makes the source of this cluster's trust that its configuration names."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from federation.federation import Federation
from gateway.config import Config
from gateway.control import Certificate
from gateway.trust_keeping.ca_renewal import CaRenewal
from gateway.trust_keeping.controller_svid import ControllerSvid
from gateway.trust_keeping.keeper import TrustKeeper, Workers
from gateway.trust_keeping.orders import OrderFiles
from gateway.trust_keeping.workload_follower import WorkloadFollower, first_identity
from trust.authority import REFRESH_HINT_S
from trust.ca_files import load_ca
from trust.errors import TrustError
from trust.external_authority import ExternalAuthority, FormerRoot, load_former
from trust.keyring import Keyring
from trust.keys import PrivateKey
from trust.source import TrustSource
from trust.svid import X509Svid
from trust.workload_authority import WorkloadAuthority

_RECORD_KEY = "record.key"
FORMER_ROOTS = "former-roots.json"
_OWN = "trust"
"""Where a root of our own is kept, below the state directory."""


AGENT_WAIT_S = 30.0
"""How long a start waits for the agent: both may be started together."""


class SigningSource(TrustSource, Protocol):
    """A source that certifies the keys that gateways make."""

    def issue_gateway(self, csr_der: bytes, *, now: datetime, lifetime_s: float, gateway: str = "") -> list[bytes]: ...


def open_authority(config: Config, now: datetime) -> SigningSource:
    """The source of a configuration without `trust.workload_api`. Raises TrustError."""
    trust_domain, own = config.cluster.trust_domain, config.state_dir / _OWN
    if config.trust.ca_dir is None:
        return Keyring.load_or_create(own, trust_domain, now)
    ca = load_ca(config.trust.ca_dir, trust_domain, now)
    former = load_former(config.state_dir / FORMER_ROOTS) or _former_own(config, now)
    record_key = _record_key(config, now)
    return ExternalAuthority(ca, record_key, svid_lifetime_s=config.trust.svid_lifetime_s, now=now, former=former)


async def open_workload(config: Config, clock: Callable[[], datetime], timeout_s: float) -> WorkloadAuthority:
    """The source of a configuration with `trust.workload_api`, once the agent gave an identity. Raises TrustError."""
    assert config.trust.workload_api is not None
    trust_domain = config.cluster.trust_domain
    identity = await first_identity(config.trust.workload_api, trust_domain, clock, timeout_s)
    return WorkloadAuthority(trust_domain, identity, _record_key(config, clock()))


class Identity(Protocol):
    """A running gateway's identity: where it comes from, and what follows its renewals."""

    @property
    def source(self) -> TrustSource: ...

    def certify(self, csr_der: bytes) -> Certificate:
        """The answer to a worker's signing request. Raises TrustError."""
        ...

    def svid(self, now: datetime) -> X509Svid:
        """The controller's own, as a gateway. Raises TrustError."""
        ...

    def given(self) -> Certificate | None:
        """What workers get without asking for it: an SVID that came with its key."""
        ...

    def renewal(self, federation: Federation, changed: Callable[[], None]) -> Renewal | None: ...


class Renewal(Protocol):
    """What runs beside the gateway and keeps its identity up to date."""

    problem: str

    async def run(self) -> None: ...


class SignedIdentity:
    """By a CA that signs what we ask: our own, or one in files."""

    def __init__(
        self, config: Config, clock: Callable[[], datetime], rng: random.Random, gateway: Callable[[], str]
    ) -> None:
        self.source = open_authority(config, clock())
        self._config = config
        self._clock = clock
        self._gateway = gateway
        self._svid = ControllerSvid(self._sign, rng)

    def _sign(self, csr_der: bytes) -> list[bytes]:
        lifetime_s, gateway = self._config.trust.svid_lifetime_s, self._gateway()
        return self.source.issue_gateway(csr_der, now=self._clock(), lifetime_s=lifetime_s, gateway=gateway)

    def certify(self, csr_der: bytes) -> Certificate:
        return Certificate(self._sign(csr_der))

    def svid(self, now: datetime) -> X509Svid:
        return self._svid.current(now)

    def given(self) -> Certificate | None:
        return None

    def renewal(self, federation: Federation, changed: Callable[[], None]) -> Renewal | None:
        directory = self._config.trust.ca_dir
        if directory is None or not isinstance(self.source, ExternalAuthority):
            return None
        former = self._config.state_dir / FORMER_ROOTS
        return CaRenewal(directory, self.source, federation, former, readers_s=_readers_s(self._config))


class GivenIdentity:
    """By a Workload API, which gives SVIDs with their keys."""

    def __init__(
        self, config: Config, source: WorkloadAuthority, clock: Callable[[], datetime], rng: random.Random
    ) -> None:
        self.source = source
        self._config = config
        self._clock = clock
        self._rng = rng

    def certify(self, csr_der: bytes) -> Certificate:
        svid = self.source.identity.gateway
        return Certificate(list(svid.chain), svid.key.expose_private_der())

    def svid(self, now: datetime) -> X509Svid:
        return self.source.identity.gateway

    def given(self) -> Certificate | None:
        return self.certify(b"")

    def renewal(self, federation: Federation, changed: Callable[[], None]) -> Renewal | None:
        socket = self._config.trust.workload_api
        assert socket is not None
        return WorkloadFollower(socket, self.source, changed, self._clock, self._rng)


def open_identity(
    config: Config,
    workload: WorkloadAuthority | None,
    clock: Callable[[], datetime],
    rng: random.Random,
    gateway: Callable[[], str],
) -> Identity:
    """`workload` is there exactly where `trust.workload_api` is named; `gateway` gives this gateway's id. Raises
    TrustError."""
    if workload is not None:
        return GivenIdentity(config, workload, clock, rng)
    return SignedIdentity(config, clock, rng, gateway)


def trust_keeper(config: Config, authority: TrustSource, federation: Federation, fleet: Workers) -> TrustKeeper | None:
    """What rotates a root of our own; None where the CA is somebody else's."""
    if not isinstance(authority, Keyring):
        return None
    return TrustKeeper(authority, federation, fleet, OrderFiles(config.state_dir), readers_s=_readers_s(config))


def _readers_s(config: Config) -> float:
    """How long whoever reads our bundle by its URL may take to come: as often as we ask, having failed once."""
    return 2.0 * REFRESH_HINT_S if config.trust.bundle_endpoint is not None else 0.0


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
