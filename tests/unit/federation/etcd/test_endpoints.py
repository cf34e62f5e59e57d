"""The order in which endpoints are tried, and the pauses between."""

from __future__ import annotations

import random

from federation.etcd.config import parse_endpoint
from federation.etcd.endpoints import EndpointRing


def ring(*hosts: str) -> EndpointRing:
    return EndpointRing([parse_endpoint(f"http://{host}") for host in hosts], random.Random(1))


def test_a_failure_moves_on_at_once_and_a_round_of_failures_pauses() -> None:
    """The next endpoint may be fine, so it is tried without delay; after all have failed, patience grows."""
    endpoints = ring("a", "b", "c")
    tried, pauses = [], []
    for now in range(18):
        endpoint, pause_s = endpoints.next_attempt()
        tried.append(endpoint.host)
        pauses.append(pause_s)
        endpoints.failed("refused", float(now))
    assert "".join(tried) == "abc" * 6
    assert [pause_s > 0 for pause_s in pauses] == [False] * 3 + [True, False, False] * 5
    assert 0.05 <= pauses[3] <= 0.1
    assert 0.4 <= pauses[12] <= 0.8


def test_the_pause_has_an_end() -> None:
    """An etcd that was down for a day is found within seconds."""
    endpoints = ring("a")
    for _ in range(5000):
        endpoints.failed("refused", 0.0)
    assert 1.5 <= endpoints.next_attempt()[1] <= 3.0


def test_hopeless_only_when_every_endpoint_has_failed_since_the_last_connection() -> None:
    """Calls wait while there is an endpoint that has not been asked yet, and fail at once when there is none."""
    endpoints = ring("a", "b")
    seen = [endpoints.hopeless]
    for _ in range(2):
        endpoints.failed("refused", 0.0)
        seen.append(endpoints.hopeless)
    endpoints.connected(1.0)
    seen.append(endpoints.hopeless)
    endpoints.failed("broken", 100.0)
    seen.append(endpoints.hopeless)
    assert seen == [False, False, True, False, False]


def test_a_good_connection_that_ends_starts_afresh_and_a_short_one_does_not() -> None:
    """A member that accepts and dies must not be tried in a spin; one that served for long is worth it."""
    endpoints = ring("a")
    for _ in range(6):
        endpoints.failed("refused", 0.0)
    endpoints.connected(10.0)
    endpoints.failed("broken", 10.5)
    assert endpoints.next_attempt()[1] > 1.0
    endpoints.connected(20.0)
    endpoints.failed("broken", 60.0)
    assert endpoints.next_attempt()[1] <= 0.1


def test_states_tell_what_a_status_page_shows() -> None:
    """Each endpoint with its last error; the connected one without."""
    endpoints = ring("a", "b")
    endpoints.failed("refused", 0.0)
    endpoints.connected(1.0)
    a, b = endpoints.states
    assert (a.url, a.connected, a.error) == ("http://a:2379", False, "refused")
    assert (b.connected, b.error) == (True, "")
    assert endpoints.describe() == "http://a:2379: refused; http://b:2379: not tried yet"
