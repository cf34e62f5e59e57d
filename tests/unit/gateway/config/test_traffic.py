"""From the sections timeouts, retries and limits to what holds for a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from discovery.model import ServiceName
from gateway.config import parse_config
from gateway.traffic import DEFAULT_TRAFFIC, TUNNEL_IDLE_S, Traffic, TrafficSettings

BEGINNING = "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\n"
PAYMENTS = ServiceName("shop", "payments")
SERVICE = """services:
- namespace: shop
  name: payments
  ports: [{name: http, port: 80, protocol: http}]
  endpoints: [{address: 127.0.0.1, port: 9001}]
"""


def settings(text: str) -> TrafficSettings:
    validation = parse_config(BEGINNING + text, Path("/etc/isthmus/cluster.yaml"))
    assert validation.config is not None, validation.problems
    return validation.config.traffic()


def traffic(text: str, service: ServiceName = PAYMENTS) -> Traffic:
    return settings(text).of(service)


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse_config(BEGINNING + text, Path("/etc/isthmus/cluster.yaml")).problems]


def test_nothing_said_is_the_default() -> None:
    assert traffic("") == DEFAULT_TRAFFIC
    assert traffic(SERVICE) == DEFAULT_TRAFFIC


def test_a_section_holds_for_all() -> None:
    found = traffic("timeouts: {request: 10s}\nretries: {attempts: 2}\nlimits: {pending: 7}\n")
    assert (found.timeouts.request_s, found.timeouts.idle_s) == (10.0, DEFAULT_TRAFFIC.timeouts.idle_s)
    assert (found.retries.attempts, found.retries.statuses) == (2, (502, 503, 504))
    assert (found.limits.pending, found.limits.requests) == (7, 1024)


def test_keys_are_put_together_from_the_narrowest_that_gives_them() -> None:
    """The service's own entry, then its name or the first pattern, then all: key by key."""
    text = """timeouts:
  request: 60s
  idle: 30s
  services:
    "shop/*": {request: 20s, attempt: 5s}
    "*/payments": {attempt: 9s}
"""
    found = traffic(text).timeouts
    assert (found.request_s, found.attempt_s, found.idle_s) == (20.0, 5.0, 30.0)
    found = traffic(text + SERVICE + "  timeouts: {attempt: 1s}\n").timeouts
    assert (found.request_s, found.attempt_s, found.idle_s) == (20.0, 1.0, 30.0)
    found = traffic(text, ServiceName("bank", "payments")).timeouts
    assert (found.request_s, found.attempt_s, found.idle_s) == (60.0, 9.0, 30.0)
    assert traffic(text, ServiceName("bank", "ledger")).timeouts.request_s == 60.0


def test_a_name_goes_before_patterns_wherever_it_stands() -> None:
    text = 'limits: {services: {"shop/*": {requests: 5}, shop/payments: {requests: 9}}}\n'
    assert traffic(text).limits.requests == 9
    assert traffic(text, ServiceName("shop", "cart")).limits.requests == 5


def test_zero_turns_a_timeout_off_again() -> None:
    text = "timeouts: {request: 60s, services: {shop/payments: {request: 0s, idle: 0s}}}\n"
    found = traffic(text).timeouts
    assert (found.request_s, found.idle_s, found.tunnel_idle_s) == (0.0, 0.0, 0.0)


def test_idle_holds_for_tunnelled_connections_when_it_is_said() -> None:
    assert traffic("timeouts: {request: 1s}\n").timeouts.tunnel_idle_s == TUNNEL_IDLE_S
    assert traffic("timeouts: {idle: 2h}\n").timeouts.tunnel_idle_s == 7200.0


@pytest.mark.parametrize(
    ("written", "found"), [("p95", (0.0, 0.95)), ("50ms", (0.05, 0.0)), ("never", (0.0, 0.0)), ("p50", (0.0, 0.5))]
)
def test_when_a_hedge_is_made(written: str, found: tuple[float, float]) -> None:
    retries = traffic(f"retries: {{hedge_after: {written}}}\n").retries
    assert (retries.hedge_after_s, retries.hedge_after_quantile) == found


def test_a_service_may_turn_hedging_off() -> None:
    retries = traffic("retries: {hedge_after: p95}\n" + SERVICE + "  retries: {hedge_after: never}\n").retries
    assert (retries.hedge_after_s, retries.hedge_after_quantile) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retries: {hedge_after: p30}\n", "retries.hedge_after"),
        ("retries: {hedge_after: 0s}\n", "too short"),
        ("retries: {hedge_after: 5}\n", "a percentile from p50 to p99"),
        ("retries: {statuses: [404]}\n", "retries.statuses"),
        ("retries: {attempts: 0}\n", "retries.attempts"),
        ("limits: {requests: 0}\n", "limits.requests"),
        ("timeouts: {request: 10}\n", "timeouts.request"),
        ("timeouts: {services: {shop: {request: 1s}}}\n", "service pattern"),
        ('timeouts: {services: {"shop/*": {requests: 1s}}}\n', 'did you mean "request"?'),
        (SERVICE + "  limits: {request: 1}\n", 'did you mean "requests"?'),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    (problem,) = problems(text)
    assert said in problem
