"""Our cluster's own side: what it exports, which bundle and gateway it shows, and what of that lies in etcd already.

Pure, as `Publication` is: it reads back what we said before, so that a restarted gateway goes on where it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from discovery.model import ServiceName
from federation import paths
from federation.damping import urgency_of
from federation.digests import OwnDigests
from federation.errors import RecordRefused
from federation.own_exports import OwnExports
from federation.paths import BUNDLE, Kind, Path
from federation.publication import Publication
from federation.record import Record
from federation.settings import FederationSettings
from federation.values import AckValue, ExportValue, GatewayValue, encode, parse_export, parse_gateway
from trust.bundle import Bundle, encode_bundle, parse_bundle
from trust.errors import TrustError
from trust.source import TrustSource


class OwnRecords:
    """What we say. `now` is monotonic seconds, `wall` Unix seconds."""

    def __init__(self, settings: FederationSettings, authority: TrustSource, gateway_id: str) -> None:
        self.exports = OwnExports()
        self.digests = OwnDigests()
        self.publication = Publication(
            federation=settings.federation, cluster=settings.cluster, authority=authority, gateway_id=gateway_id
        )
        self.gateway_id = gateway_id
        self._settings = settings
        self._authority = authority
        self._said: Bundle | None = None
        self._said_value = b""
        self.behind = False
        """Whether another gateway of our cluster has said a later bundle than our keys know: it stays as it is."""
        self.gateways: dict[str, GatewayValue] = {}
        """The other gateways of our cluster that are registered."""
        self.namesakes: set[str] = set()
        """Gateways that are registered under our cluster's name and have other keys than it."""
        self._told_namesakes: set[str] = set()
        self._addresses: Sequence[str] = ()
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
            self._said, self._said_value = bundle, record.value

    def _recall_export(self, name: ServiceName, record: Record) -> bool:
        try:
            created = parse_export(record.value).created
        except RecordRefused:
            return False
        return self.exports.learn_created(name, created)

    def want_bundle(self, now: float) -> None:
        """Our bundle, with a sequence above the last one if it differs from that. Not before etcd was read. A later one
        that another gateway of our cluster said stays: that gateway has keys that were not brought here yet."""
        bundle = self.bundle()
        self.behind = bundle is self._said and _trust_of(bundle) != _trust_of(self._authority.bundle(0))
        self._said = bundle
        if self.behind:
            self.publication.follow(bundle.record_keys)
            self.publication.want(BUNDLE, self._said_value, now)
            return
        self._said_value = encode_bundle(bundle)
        self.publication.follow(())
        self.publication.want(BUNDLE, self._said_value, now)
        self.want_gateway(self._addresses, now)

    def bundle(self) -> Bundle:
        """Our bundle as it is now, also while etcd can't be told."""
        said, known = self._said, self._authority.sequence
        bundle = self._authority.bundle(max(self.bundle_sequence, known, 1))
        if said is None or msgspec.structs.replace(bundle, sequence=said.sequence) == said:
            return bundle
        if 0 < known < said.sequence and _trust_of(said) != _trust_of(bundle):
            return said
        return self._authority.bundle(max(said.sequence + 1, known))

    def recall_gateway(self, gateway_id: str, record: Record | None) -> None:
        """Another gateway of our cluster is registered; None: it is not."""
        self.gateways.pop(gateway_id, None)
        self.namesakes.discard(gateway_id)
        if record is not None and gateway_id != self.gateway_id:
            with contextlib.suppress(RecordRefused):
                self.gateways[gateway_id] = parse_gateway(record.value, gateway_id)

    def note_namesake(self, gateway_id: str) -> bool:
        """What is registered under our name is not ours. Returns whether nobody was told of it yet."""
        is_news = gateway_id not in self._told_namesakes
        self.gateways.pop(gateway_id, None)
        self.namesakes.add(gateway_id)
        self._told_namesakes.add(gateway_id)
        return is_news

    def begin_listing(self) -> None:
        """All that lies under our name is told anew."""
        self.publication.begin_listing()
        self.digests.begin_listing()
        self.gateways.clear()
        self.namesakes.clear()

    def end_listing(self, now: float) -> None:
        """All of it was told: what we want is compared with it."""
        self.want_bundle(now)
        self.publication.end_listing()
        self.digests.end_listing()

    def want_gateway(self, addresses: Sequence[str], now: float) -> None:
        """Registers our gateway (on its lease); without addresses it takes nothing from peers, and is not shown."""
        self._addresses = addresses
        path = paths.gateway(self.gateway_id)
        if not addresses:
            self.publication.unwant(path)
            return
        value = GatewayValue(
            self.gateway_id,
            tuple(addresses),
            self._settings.locality.region,
            self._settings.locality.zone,
            self._settings.version,
            self._authority.sequence if self.behind else max(self.bundle_sequence, 0),
        )
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

    def found_digest(self, path: Path, value: bytes, now: float) -> None:
        """A digest of ours lies in etcd, and stays until there is something to be said that it does not say."""
        if self.digests.found(path, value):
            self.publication.want(path, value, now)

    def want_digests(self, now: float) -> bool:
        """Publishes what our digests are to say; returns whether that is anything new."""
        due = self.digests.take_due()
        for path, value in due.items():
            if value is None:
                self.publication.unwant(path)
            else:
                self.publication.want(path, value, now)
        return bool(due)

    def want_ack(self, peer: str, sequence: int, now: float) -> None:
        """Tells a peer which sequence of its bundle we accepted; below 0: nothing to tell."""
        if sequence < 0:
            self.publication.unwant(paths.ack(peer))
        else:
            self.publication.want(paths.ack(peer), encode(AckValue(sequence)), now)


def describe_namesake(cluster: str) -> str:
    """What is wrong, and what to do, when another gateway says that it is of our cluster and has other keys."""
    return (
        "its key is not this cluster's. If another cluster calls itself that too, each undoes what the other one says: "
        f"one of them has to take another cluster.name than {cluster}. If it is a second gateway of this cluster, stop "
        "it and bring this one's state_dir/trust there"
    )


def _trust_of(bundle: Bundle) -> object:
    """What of a bundle other keys than ours may have made different."""
    return set(bundle.authorities), set(bundle.record_keys), bundle.revoked
