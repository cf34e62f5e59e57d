"""What we remember of each peer's trust: the bundle that was accepted last, with the pin under which it was.

A pin speaks for a peer until a bundle of that peer is believed, and never again: from then on the bundle says who
speaks for it, also after the pinned root was retired or revoked. So that this holds over restarts, the accepted record
lies in `<state_dir>/believed/<cluster>.json`, written through to the disk before the bundle is acknowledged: who reads
our acknowledgement may retire its old root.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from discovery.model import is_dns_label
from federation.errors import RecordRefused
from federation.paths import BUNDLE
from federation.record import Record, reopen_record
from trust.bundle import parse_bundle
from trust.errors import TrustError
from trust.fingerprint import fingerprint_of
from trust.keys import write_durably

_MAX_FILE_BYTES = 262_144


class BelievedBundle(msgspec.Struct, frozen=True):
    """`record` is the bundle's record as it lay in etcd, `pin` the fingerprint that was configured then."""

    trust_domain: str
    pin: str
    record: str


class PeerMemories:
    """`problems` has what could not be read or written, by cluster."""

    def __init__(self, state_dir: Path) -> None:
        self.problems: dict[str, str] = {}
        self._directory = state_dir / "believed"

    def load(self) -> dict[str, BelievedBundle]:
        """All that can be read, by cluster. Never raises for what it finds."""
        found: dict[str, BelievedBundle] = {}
        for path in sorted(self._directory.glob("*.json")) if self._directory.is_dir() else ():
            if not is_dns_label(path.stem):
                continue
            try:
                with path.open("rb") as file:
                    found[path.stem] = msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=BelievedBundle)
            except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
                self.problems[path.stem] = f"{path} can't be read, so only its pinned root counts: {error}"
        return found

    def write(self, cluster: str, believed: BelievedBundle) -> bool:
        """Returns whether it is on disk."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True, parents=True)
            write_durably(self._path(cluster), msgspec.json.encode(believed))
        except OSError as error:
            self.problems[cluster] = f"its trust bundle can't be kept, and is not acknowledged for that: {error}"
            return False
        self.problems.pop(cluster, None)
        return True

    def forget(self, cluster: str) -> None:
        """Whoever comes back under that name is judged by its pin."""
        self.problems.pop(cluster, None)
        with contextlib.suppress(OSError):
            self._path(cluster).unlink(missing_ok=True)

    def _path(self, cluster: str) -> Path:
        return self._directory / f"{cluster}.json"


def recall_bundle(
    believed: BelievedBundle, *, federation: str, cluster: str, trust_domain: str, pin: str
) -> Record | None:
    """The record, if it still is what a peer of that trust domain and pin said. The pin may be the one of then, or a
    root that the bundle holds. The disk is ours, so that the signature is not checked again: the key that made it may
    be retired by now."""
    try:
        record = reopen_record(believed.record.encode(), federation=federation, cluster=cluster, path=str(BUNDLE))
        bundle = parse_bundle(record.value, trust_domain)
    except (RecordRefused, TrustError):
        return None
    pins = {believed.pin, *(fingerprint_of(root) for root in bundle.authorities)}
    return record if believed.trust_domain == trust_domain and pin in pins else None
