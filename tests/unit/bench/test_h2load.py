"""h2load's words, as its versions print them."""

from __future__ import annotations

import pytest

from tests.bench.latency import percentiles
from tests.bench.rig.contender import BenchError
from tests.bench.rig.h2load import parse_log, parse_output

OUTPUT = """\
starting benchmark...
spawning thread #0: 16 total client(s). Timing-based test with 0s of warm-up time and 1s of main duration.
Application protocol: h2c

finished in 1.01s, 15320.50 req/s, 1.83MB/s
requests: 15320 total, 15480 started, 15320 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {succeeded} 2xx, 0 3xx, 0 4xx, {failed} 5xx
traffic: 1.83MB (1916888) total, 135.63KB (138888) headers (space savings 90.15%), 1.43MB (1501360) data
                     min         max         mean         sd        +/- sd
time for request:     1.07ms     24.62ms     10.15ms      3.88ms    78.54%
"""


def test_a_good_run() -> None:
    seen = parse_output(OUTPUT.format(succeeded=15320, failed=0), [7])
    assert (seen.requests, seen.requests_per_s, seen.durations_us) == (15320, 15320.5, [7])


def test_a_failed_request_spoils_the_run() -> None:
    """Errors are quick: counted as answers they would be called fast."""
    with pytest.raises(BenchError, match="3 failed"):
        parse_output(OUTPUT.format(succeeded=15317, failed=3))


def test_nothing_done_is_no_result() -> None:
    with pytest.raises(BenchError, match="0 succeeded"):
        parse_output(OUTPUT.format(succeeded=0, failed=0))


def test_other_words_are_shown() -> None:
    with pytest.raises(BenchError, match="Segmentation"):
        parse_output("Segmentation fault")


def test_the_log_gives_durations() -> None:
    assert parse_log("1700000000000000\t200\t830\n1700000000000900\t200\t1201\n") == [830, 1201]


def test_percentiles_of_durations() -> None:
    p50_us, p99_us = percentiles([*range(1, 1001)])
    assert p50_us == pytest.approx(500, abs=1)
    assert p99_us == pytest.approx(990, abs=1)
