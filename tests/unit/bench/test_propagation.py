"""The arithmetic and the command line of the propagation benchmark."""

from __future__ import annotations

import pytest

from tests.bench.propagation import SIZES, Measured, figures, parse, quantile, ratios
from tests.bench.rig.propagation_pair import Synced


def measured(services: int, east_us: float, west_us: float) -> Measured:
    roles = {"east worker": 100.0, "east controller": 200.0}
    return Measured(
        services=services,
        one_at_a_time_ms=[1.0, 2.0, 30.0],
        under_load_ms=[5.0],
        changes_per_s=999.0,
        cpu_us={"east": east_us, "west": west_us},
        cold=Synced(routable_s=9.0, synced_s=8.0),
        cold_usage_mb=roles,
        warm=Synced(routable_s=3.0, synced_s=4.0),
    )


def test_quantiles() -> None:
    """The 99th of a hundred values is one that happened, not one between two."""
    values = [float(number) for number in range(100)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50.0, 99.0, 7.0)


def test_the_names_that_others_read() -> None:
    """Sync is over when the later of the two signs is seen; the ratio is that of the gateway that does worse."""
    both = [measured(100, 400.0, 500.0), measured(100_000, 600.0, 900.0)]
    found = figures(both) | ratios(both, (100, 100_000))
    assert found["p50_ms_100"] == 2.0
    assert found["p99_ms_100000"] == 30.0
    assert found["cold_sync_s_100000"] == 9.0
    assert found["disk_sync_s_100000"] == 4.0
    assert found["worker_mb_100000"] == 100.0
    assert found["cpu_ratio_100000_to_100"] == pytest.approx(1.8)
    assert ratios(both[:1], (100,)) == {}


def test_the_command_line() -> None:
    assert parse([])[0].sizes == SIZES
    quick, as_json = parse(["--quick", "--json"])
    assert (quick.sizes, as_json) == ((100,), True)
    for wrong in (["--sizes", "3"], ["--changes", "0"], ["--seconds", "0"]):
        with pytest.raises(SystemExit):
            parse(wrong)
