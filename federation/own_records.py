"""Our cluster's own side: what it exports, which bundle and gateway it shows, and what of that lies in etcd already.

Pure, as `Publication` is: it reads back what we said before, so that a restarted gateway goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from discovery.model import ServiceName
from federation import paths
from federation.damping import urgency_of
from federation.own_exports import OwnExports
from federation.paths import BUNDLE, Kind, Path
from federation.publication import Publication
from federation.record import Record, RecordRefused
from federation.settings import FederationSettings
from federation.values import AckValue, ExportValue, GatewayValue, encode, parse_export
from trust.bundle import Bundle, encode_bundle, parse_bundle
from trust.errors import TrustError
from trust.source import TrustSource


class OwnRecords:
    """What we say. `now` is monotonic seconds, `wall` Unix seconds."""

    def __init__(self, settings: FederationSettings, authority: TrustSource, gateway_id: str) -> None:
        self.exports = OwnExports()
        self.publication = Publication(
            federation=settings.federation, cluster=settings.cluster, authority=authority, gateway_id=gateway_id
        )
        self.gateway_id = gateway_id
        self._settings = settings
        self._authority = authority
        self._said: Bundle | None = None
        self._exported: dict[ServiceName, ExportValue] = {}
        """What we want our exports to say."""

    @property
    def bundle_sequence(self) -> int:
        return self._said.sequence if self._said is not None else -1

    def recall(
        self, path: Path, raw: bytes, *, verified_before: bool = False
    ) -> tuple[Record | None, ServiceName | None]:
        """Our own record as we wrote it before, read from etcd or disk: None when it is not ours. With it comes the
        service whose age became known by it, if any."""
        record = self.publication.open_own(path, raw, verified_before=verified_before)
        if record is None:
            return None, None
        if path == BUNDLE:
            self._recall_bundle(record)
        elif path.kind is Kind.EXPORT and self._recall_export(path.service, record):
            return record, path.service
        return record, None

    def _recall_bundle(self, record: Record) -> None:
        try:
            bundle = parse_bundle(record.value, self._authority.trust_domain)
        except TrustError:
            return
        if bundle.sequence > self.bundle_sequence:
            self._said = bundle

    def _recall_export(self, name: ServiceName, record: Record) -> bool:
        try:
            created = parse_export(record.value).created
        except RecordRefused:
            return False
        return self.exports.learn_created(name, created)

    def want_bundle(self, now: float) -> None:
        """Our bundle, with a sequence above the last one if it differs from that. Not before etcd was read."""
        self._said = self.bundle()
        self.publication.want(BUNDLE, encode_bundle(self._said), now)

    def bundle(self) -> Bundle:
        """Our bundle as it is now, also while etcd can't be told."""
        sequence = max(self.bundle_sequence, 1)
        bundle = self._authority.bundle(sequence)
        if self._said is not None and bundle != self._said:
            return self._authority.bundle(sequence + 1)
        return bundle

    def want_gateway(self, addresses: Sequence[str], now: float) -> None:
        """Registers our gateway (on its lease); without addresses it takes nothing from peers, and is not shown."""
        path = paths.gateway(self.gateway_id)
        if not addresses:
            self.publication.unwant(path)
            return
        locality, version = self._settings.locality, self._settings.version
        value = GatewayValue(self.gateway_id, tuple(addresses), locality.region, locality.zone, version)
        self.publication.want(path, encode(value), now, leased=True)

    def want_export(self, name: ServiceName, now: float) -> None:
        """Publishes what we export of `name` now, which may be nothing. A change of health alone may have to wait."""
        value = self.exports.value(name) if name in self.exports else None
        if value is None:
            self._exported.pop(name, None)
            self.publication.unwant(paths.export(name))
        else:
            urgency = urgency_of(self._exported.get(name), value)
            self._exported[name] = value
            self.publication.want(paths.export(name), encode(value), now, urgency=urgency)

    def want_ack(self, peer: str, sequence: int, now: float) -> None:
        """Tells a peer which sequence of its bundle we accepted; below 0: nothing to tell."""
        if sequence < 0:
            self.publication.unwant(paths.ack(peer))
        else:
            self.publication.want(paths.ack(peer), encode(AckValue(sequence)), now)
