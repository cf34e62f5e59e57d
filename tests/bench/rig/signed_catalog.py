"""The catalogs of clusters that are not run: each export signed by a real record key, as its cluster's gateway would.

Signing 100,000 records takes ten seconds, so they are kept between runs, with the keys that signed them, below the
system's temporary directory. What is kept there is worth nothing: no cluster but the bench's believes those keys.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from discovery.model import Port, Protocol, ServiceName, ZoneHealth
from federation import paths
from federation.paths import BUNDLE
from federation.record import next_sequence, sign_record
from federation.values import ExportValue, GatewayValue, encode
from trust.authority import Authority
from trust.bundle import RecordKey, encode_bundle

FEDERATION = "bench"
PORT = 8080
_NAMESPACES = 40
# Nothing listens there: tunnels to these clusters are tried, and refused at once.
_NOBODY = "127.0.0.1:1"


def service_name(cluster: str, number: int) -> ServiceName:
    return ServiceName(f"team-{number % _NAMESPACES}", f"{cluster}-service-{number}")


def export_value(created: float, healthy: int = 2) -> ExportValue:
    """Two zones with two endpoints each."""
    zones = (ZoneHealth("a", healthy, 2), ZoneHealth("b", 2, 2))
    return ExportValue((Port("http", PORT, Protocol.HTTP),), ("*",), created, zones)


class Signer:
    """One cluster's keys, and what it says with them."""

    def __init__(self, directory: Path, cluster: str) -> None:
        self.cluster = cluster
        self.authority = Authority.load_or_create(
            directory / cluster / "trust", f"{cluster}.bench.test", datetime.now(UTC)
        )
        self._kid = RecordKey.of(self.authority.record_key.public_key).kid
        self._last = -1

    def sign(self, path: paths.Path, value: bytes, *, with_chain: bool = False) -> bytes:
        now = time.time()
        self._last = next_sequence(self._last, now)
        return sign_record(
            value,
            federation=FEDERATION,
            cluster=self.cluster,
            path=str(path),
            sequence=self._last,
            issued_at=now,
            key=self.authority.record_key,
            kid=self._kid,
            chain=self.authority.record_chain if with_chain else (),
        )

    def export(self, number: int, healthy: int = 2) -> tuple[paths.Path, bytes]:
        path = paths.export(service_name(self.cluster, number))
        return path, self.sign(path, encode(export_value(1_700_000_000.0 + number, healthy)))

    def bundle(self) -> bytes:
        return self.sign(BUNDLE, encode_bundle(self.authority.bundle(1)), with_chain=True)

    def gateway(self) -> tuple[paths.Path, bytes]:
        path = paths.gateway("gw-1")
        return path, self.sign(path, encode(GatewayValue("gw-1", (_NOBODY,), self.cluster, "a", "bench")))


class SignedCatalogs:
    """The exports of several clusters, from the temporary cache or signed now."""

    def __init__(self, directory: Path, clusters: tuple[str, ...]) -> None:
        self._directory = directory
        self.signers = {cluster: Signer(directory, cluster) for cluster in clusters}

    def exports(self, cluster: str, count: int) -> Iterator[tuple[paths.Path, bytes]]:
        """The first `count` exports of a cluster."""
        file = self._directory / cluster / "exports.jws"
        kept = file.read_bytes().splitlines() if file.exists() else []
        if len(kept) < count:
            signer = self.signers[cluster]
            kept += [signer.export(number)[1] for number in range(len(kept), count)]
            draft = file.with_suffix(".new")
            draft.write_bytes(b"\n".join(kept))
            draft.replace(file)
        for number in range(count):
            yield paths.export(service_name(cluster, number)), kept[number]


def open_catalogs(clusters: tuple[str, ...]) -> SignedCatalogs:
    directory = Path(tempfile.gettempdir()) / f"isthmus-bench-records-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid() or directory.stat().st_mode & 0o077:
        raise SystemExit(f"{directory} belongs to somebody else, or others may write to it: remove it")
    return SignedCatalogs(directory, clusters)
