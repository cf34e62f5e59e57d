"""Register to routable in another cluster, cost of a change, and cold sync: ten clusters, up to 100,000 services.

Two gateways run, each with its controller and a worker; the other eight clusters' catalogs lie in a real etcd, signed.
A service registers in west's controller, as a source would do it. It is routable when a request for it through east's
worker is answered with 200 by its endpoint, by way of west's worker. It is measured with one change at a time, and
while 1,000 a second happen in all clusters: 100 registrations in west, of which one in eight is watched, and 900
changes of health elsewhere. The CPU of a change is that of a gateway's controller and worker under those 1,000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import msgspec

from discovery.model import ServiceName
from gateway.demo.waiting import pause
from tests.bench.rig.command import guarded
from tests.bench.rig.contender import spent
from tests.bench.rig.idle_clients import allow_files
from tests.bench.rig.propagation_pair import Federation, Synced
from tests.bench.rig.registering_gateway import NAMESPACE
from tests.bench.rig.stage import scratch_directory
from tests.bench.rig.worker_probe import WorkerProbe

SIZES = (100, 10_000, 100_000)
_MEGABYTE = 1e6
_ROUTABLE_TIMEOUT_S = 30.0
_SETTLE_S = 2.0
_REGISTERED_SHARE = 0.1


class Measured(msgspec.Struct):
    """One size."""

    services: int
    one_at_a_time_ms: list[float]
    under_load_ms: list[float]
    changes_per_s: float
    cpu_us: dict[str, float]
    """Of a change, by cluster: controller and worker together."""
    cold: Synced
    cold_usage_mb: dict[str, float]
    warm: Synced


class Options(msgspec.Struct, frozen=True):
    sizes: tuple[int, ...]
    changes: int
    per_s: float
    seconds: float


def measure(size: int, directory: Path, options: Options) -> Measured:
    federation = Federation(directory, size)
    with federation.run():
        cold = federation.start_east()
        pause(_SETTLE_S)
        megabytes = {role: usage.resident_bytes / _MEGABYTE for role, usage in federation.usages().items()}
        federation.wait_linked()
        federation.wait_quiet()
        probe = WorkerProbe(federation.east.http_address())
        alone = [_register(federation, probe, f"alone-{number}") for number in range(options.changes)]
        loaded, changes, duration_s, cpu_s = _stream(federation, probe, options)
        federation.stop_east()
        warm = federation.start_east()
    return Measured(
        services=federation.total,
        one_at_a_time_ms=alone,
        under_load_ms=loaded,
        changes_per_s=changes / duration_s,
        cpu_us={name: cpu_s[name] / changes * 1e6 for name in cpu_s},
        cold=cold,
        cold_usage_mb=megabytes,
        warm=warm,
    )


def _register(federation: Federation, probe: WorkerProbe, name: str) -> float:
    """Milliseconds from registering to the first answer."""
    _, _, at = federation.source.ask("put", name)
    return (probe.wait_for(ServiceName(NAMESPACE, name), 200, _ROUTABLE_TIMEOUT_S) - float(at)) * 1e3


def _stream(
    federation: Federation, probe: WorkerProbe, options: Options
) -> tuple[list[float], int, float, dict[str, float]]:
    """The times of the watched registrations, how many changes there were in how long, and the CPU by cluster."""
    before = {role: usage.cpu_s for role, usage in federation.usages().items()}
    began = time.monotonic()
    federation.writer.tell("change", options.per_s * (1 - _REGISTERED_SHARE), options.seconds)
    federation.source.tell("stream", options.per_s * _REGISTERED_SHARE, options.seconds)
    times = []
    while (heard := federation.source.hear())[0] == "put":
        routable = probe.wait_for(ServiceName(NAMESPACE, heard[1]), 200, _ROUTABLE_TIMEOUT_S)
        times.append((routable - float(heard[2])) * 1e3)
    changed = federation.writer.hear()
    duration_s = time.monotonic() - began
    after = {role: usage.cpu_s for role, usage in federation.usages().items()}
    by_role = spent(before, after)
    cpu_s = {cluster: by_role[f"{cluster} controller"] + by_role[f"{cluster} worker"] for cluster in ("east", "west")}
    return times, int(heard[1]) + int(changed[1]), duration_s, cpu_s


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figures(measured: list[Measured]) -> dict[str, float]:
    """By name, with the size: `p50_ms_10000` is one change at a time, `loaded_…` while there are many others."""
    found: dict[str, float] = {}
    for one, size in zip(measured, (str(m.services) for m in measured), strict=True):
        found |= {
            f"p50_ms_{size}": statistics.median(one.one_at_a_time_ms),
            f"p99_ms_{size}": quantile(one.one_at_a_time_ms, 0.99),
            f"loaded_p50_ms_{size}": statistics.median(one.under_load_ms),
            f"loaded_p99_ms_{size}": quantile(one.under_load_ms, 0.99),
            f"changes_per_s_{size}": one.changes_per_s,
            f"cpu_us_per_change_{size}": one.cpu_us["east"],
            f"exporter_cpu_us_per_change_{size}": one.cpu_us["west"],
            f"cold_sync_s_{size}": max(one.cold.routable_s, one.cold.synced_s),
            f"disk_routable_s_{size}": one.warm.routable_s,
            f"disk_sync_s_{size}": max(one.warm.routable_s, one.warm.synced_s),
            f"worker_mb_{size}": one.cold_usage_mb["east worker"],
            f"controller_mb_{size}": one.cold_usage_mb["east controller"],
        }
    return found


def ratios(measured: list[Measured], sizes: tuple[int, ...]) -> dict[str, float]:
    """What a change costs in the largest catalog, in terms of the smallest: in the gateway where that is more."""
    first, last = measured[0], measured[-1]
    if first is last:
        return {}
    worst = max(last.cpu_us[cluster] / first.cpu_us[cluster] for cluster in first.cpu_us)
    return {f"cpu_ratio_{sizes[-1]}_to_{sizes[0]}": worst}


def _run(options: Options, *, as_json: bool) -> None:
    allow_files(0, 0)
    measured = []
    for size in options.sizes:
        with scratch_directory() as directory:
            one = measure(size, directory, options)
        one.services = size
        measured.append(one)
        print(_table(one), flush=True)
    found = figures(measured) | ratios(measured, options.sizes)
    for name, value in ratios(measured, options.sizes).items():
        print(f"{name}: {value:.2f}")
    if as_json:
        rounded = {name: round(value, 3) for name, value in found.items()}
        print(json.dumps({"bench": "propagation", "isthmus": rounded, "peers": {}, "ratio": {}}))


def _table(one: Measured) -> str:
    alone, loaded = one.one_at_a_time_ms, one.under_load_ms
    return "\n".join(
        [
            f"{one.services:,} services in 10 clusters",
            f"  one at a time      p50 {statistics.median(alone):7.1f} ms   p99 {quantile(alone, 0.99):7.1f} ms"
            f"   ({len(alone)} registrations)",
            f"  {one.changes_per_s:5,.0f} a second     p50 {statistics.median(loaded):7.1f} ms"
            f"   p99 {quantile(loaded, 0.99):7.1f} ms   ({len(loaded)} watched)",
            f"  CPU of a change    {one.cpu_us['east']:.0f} us in east, {one.cpu_us['west']:.0f} us in west",
            f"  cold sync          {one.cold.routable_s:.1f} s routable, {one.cold.synced_s:.1f} s synced",
            f"  with its disk      {one.warm.routable_s:.1f} s routable, {one.warm.synced_s:.1f} s synced",
            f"  memory of east     worker {one.cold_usage_mb['east worker']:.0f} MB,"
            f" controller {one.cold_usage_mb['east controller']:.0f} MB",
        ]
    )


def parse(argv: list[str]) -> tuple[Options, bool]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench propagation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="services in all, the smallest first")
    parser.add_argument("--changes", type=int, default=200, help="registrations one at a time (default 200)")
    parser.add_argument("--per-second", type=float, default=1000.0, help="changes under load (default 1000)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of load (default 8)")
    parser.add_argument("--quick", action="store_true", help="100 services, briefly: whether it works at all")
    given = parser.parse_args(argv)
    if given.quick:
        return Options((100,), 5, 200.0, 1.0), given.json
    sizes = tuple(int(size) for size in given.sizes.split(","))
    if given.changes < 1 or given.seconds <= 0 or given.per_second < 80 or min(sizes) < 9:
        parser.error("changes are 1 or more, at least 80 a second, and sizes 9 or more")
    return Options(sizes, given.changes, given.per_second, given.seconds), given.json


def main(argv: list[str]) -> int:
    options, as_json = parse(argv)
    return guarded(lambda: _run(options, as_json=as_json))
