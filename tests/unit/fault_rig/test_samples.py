"""What follows from the requests of a load."""

from __future__ import annotations

import pytest

from tests.fault_rig.samples import Sample, next_due, outage_s, usual_s

USUAL_S, SLOW_S = 0.010, 0.1


def get(client: str, began_ms: float, took_ms: float, status: int = 200) -> Sample:
    return Sample("get", client, began_ms / 1000, (began_ms + took_ms) / 1000, status)


def outage_ms(*samples: Sample) -> float:
    return round(outage_s(samples, since=1.0, usual_s=USUAL_S, slow_s=SLOW_S) * 1000, 3)


def test_a_fault_that_touches_nothing_is_no_outage() -> None:
    """Requests that ended before it, and those that took no longer than usual after it."""
    assert outage_ms(get("a", 900, 50), get("a", 990, 9), get("a", 1000, 5)) == 0.0


def test_a_request_that_waited_is_touched_though_it_was_not_slow() -> None:
    """What is under way when a cluster is killed is answered elsewhere after a few milliseconds: that is the outage."""
    assert outage_ms(get("a", 995, 28), get("b", 1010, 14), get("a", 1045, 3), get("b", 1060, 3)) == 24.0


def test_noise_after_a_client_is_well_does_not_count() -> None:
    """A shared machine makes one of a hundred requests slower than usual, at any time."""
    assert outage_ms(get("a", 995, 28), get("a", 1045, 3), get("a", 5000, 30)) == 23.0


def test_a_failure_counts_whenever_it_comes() -> None:
    """Whoever fails again after it was well has not recovered, and is looked at anew."""
    later = get("a", 5000, 4, status=503)
    assert outage_ms(get("a", 1000, 3), later) == 4004.0
    assert outage_ms(get("a", 1000, 3), later, get("a", 5050, 20), get("a", 5100, 3), get("a", 5150, 20)) == 4070.0
    assert outage_ms(get("a", 1000, 3), get("a", 5000, 101)) == 4101.0


def test_what_is_usual_is_what_nearly_all_took() -> None:
    """The slowest of a hundred is left out, failures say nothing, and what came later is not looked at."""
    steady = [get("a", i, 4) for i in range(150)]
    odd = [get("a", 200, 90), get("a", 300, 0, status=503), get("b", 990, 80)]
    assert usual_s([*steady, *odd], until=1.0) == pytest.approx(0.004)
    with pytest.raises(ValueError, match="no answer"):
        usual_s(odd, until=0.1)


def test_clients_that_waited_for_the_same_outage_do_not_ask_together_ever_after() -> None:
    """Six that ask at once are slower than six that ask in turn, which would look like an outage that does not end."""
    dues, interval_s, over = [10.0, 10.25, 10.5, 10.75], 1.0, 15.125
    again = sorted(next_due(due, interval_s, over) for due in dues)
    assert again == [15.25, 15.5, 15.75, 16.0]
    assert next_due(10.0, interval_s, 10.125) == 11.0
