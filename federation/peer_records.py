"""What is believed of one peer, by place: its exports, gateways and acknowledgements, with the records that said them.

Pure. Whether a record is to be believed is decided before it comes here (`federation.peer_state`).
"""

from __future__ import annotations

from collections.abc import Callable

from discovery.model import ServiceName
from federation.ledger import Ledger
from federation.paths import BUNDLE, Kind, Path
from federation.peer_events import Dropped, ExportChanged, GatewaysChanged, PeerChange
from federation.peer_gateways import PeerGateways
from federation.values import ExportValue, parse_ack, parse_export, parse_gateway


class PeerRecords:
    """The bundle is in the `ledger` only: what it says is its reader's affair."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.gateways = PeerGateways()
        self.exports: dict[ServiceName, ExportValue] = {}
        self.acks: dict[str, int] = {}
        """For each peer of this peer: the bundle sequence that it says it accepted."""
        self.listing_open = False
        """Whether etcd is being listed: what was not seen may still be shown."""

    def begin_listing(self) -> None:
        self.ledger.listing += 1
        self.listing_open = True

    def take(self, path: Path, value: bytes) -> list[PeerChange]:
        """What a record says that lies in etcd. Raises RecordRefused before anything has changed."""
        match path.kind:
            case Kind.GATEWAY:
                return self._gateway_seen(self.gateways.put(parse_gateway(value, path.names[0])))
            case Kind.EXPORT:
                export = parse_export(value)
                if self.exports.get(path.service) == export:
                    return []
                self.exports[path.service] = export
                return [ExportChanged(path.service, export)]
            case _:
                self.acks[path.names[0]] = parse_ack(value).sequence
                return []

    def renew_gateway(self, gateway_id: str) -> list[PeerChange]:
        """What is known of it lies in etcd again."""
        return self._gateway_seen(self.gateways.renew(gateway_id))

    def drop(self, unwanted: Callable[[bytes], bool]) -> list[PeerChange]:
        """Forgets all records but the bundle whose bytes are `unwanted`, and their sequences with them."""
        changes: list[PeerChange] = []
        for path, raw in self.ledger.records():
            if path == BUNDLE or not unwanted(raw):
                continue
            self.ledger.forget(path)
            changes.append(Dropped(path, -1))
            match path.kind:
                case Kind.EXPORT:
                    del self.exports[path.service]
                    changes.append(ExportChanged(path.service, None))
                case Kind.GATEWAY:
                    self.gateways.forget(path.names[0])
                    changes.append(GatewaysChanged())
                case _:
                    self.acks.pop(path.names[0], None)
        return changes

    def delete(self, path: Path) -> list[PeerChange]:
        """Nothing lies there any longer. A gateway is still known, but not by etcd."""
        sequence = self.ledger.bury(path)
        if sequence is None:
            return []
        if path.kind is Kind.GATEWAY:
            self.gateways.lose_lease(path.names[0])
            return [GatewaysChanged(), *self._forget_replaced()]
        if path.kind is Kind.ACK:
            del self.acks[path.names[0]]
            return [Dropped(path, sequence)]
        del self.exports[path.service]
        return [Dropped(path, sequence), ExportChanged(path.service, None)]

    def delete_unseen(self, *, gateways_only: bool = False) -> list[PeerChange]:
        """What the last listing did not show."""
        unseen = [path for path in self.ledger.unseen() if not gateways_only or path.kind is Kind.GATEWAY]
        changes = [change for path in unseen for change in self.delete(path)]
        return changes if gateways_only else [*changes, *self._forget_replaced()]

    def _gateway_seen(self, news: bool) -> list[PeerChange]:
        return [GatewaysChanged(), *self._forget_replaced()] if news else []

    def _forget_replaced(self) -> list[PeerChange]:
        """Drops the gateways without a lease once there is one with it; a listing must have shown all of them."""
        if self.listing_open:
            return []
        replaced = self.gateways.forget_replaced()
        changes: list[PeerChange] = []
        for gateway_id in replaced:
            path = Path(Kind.GATEWAY, (gateway_id,))
            self.ledger.bury(path)
            changes.append(Dropped(path, self.ledger.last_sequence(path)))
        return [*changes, GatewaysChanged()] if replaced else []
