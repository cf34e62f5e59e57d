"""The section `failover` of cluster.yaml."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from discovery.model import ServiceName
from gateway.config import parse_config
from gateway.controller.compile import compile_local
from gateway.failover.policy import Affinity, EjectionPolicy, FailoverSettings, ServicePolicy

BASE = """
federation: acme
cluster: {name: east, trust_domain: east.test}
peers: {west: {trust_domain: west.test, root: "sha256:%s"}}
failover: """ % ("ab" * 32)


def settings(text: str) -> FailoverSettings:
    return compile_local(parse_config(BASE + text, Path("cluster.yaml")).require()).failover


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse_config(BASE + text, Path("cluster.yaml")).problems]


def test_what_is_not_said_is_safe() -> None:
    """Ejection is on; the file's defaults and the workers' are the same."""
    assert settings("{}") == FailoverSettings()
    assert settings("{ejection: {}}").ejection == EjectionPolicy()


def test_everything_that_is_said_reaches_the_workers() -> None:
    said = settings("""
  order: [us-west, eu]
  max_share: 60%
  panic_threshold: 25.5%
  ejection:
    consecutive_gateway_errors: 3
    consecutive_5xx: 0
    interval: 20s
    success_rate_minimum_hosts: 4
    success_rate_request_volume: 50
    success_rate_stdev_factor: 2
    base_ejection_time: 500ms
    max_ejection_time: 1m
    max_ejection_percent: 100%
    slow_start: 0s
  services:
    shop/payments: {order: [eu], affinity: remote, weights: {east: 90, west: 10}, max_share: 30%}
    "legal/*": {pin: west}
""")
    assert msgspec.structs.astuple(said)[:3] == (("us-west", "eu"), 0.6, 0.255)
    assert said.ejection == EjectionPolicy(3, 0, 20.0, 4, 50, 2.0, 0.5, 60.0, 1.0, 0.0)
    payments = ServicePolicy(("eu",), Affinity.REMOTE, "", {"east": 90, "west": 10}, 0.3)
    assert said.policy_of(ServiceName("shop", "payments")) == payments
    assert str(payments) == "affinity remote; weights east 90, west 10; order eu; max_share 30%"
    assert said.policy_of(ServiceName("legal", "archive")) == ServicePolicy(pin="west")
    assert str(ServicePolicy(pin="west")) == "pin west"
    assert said.policy_of(ServiceName("shop", "cart")) == ServicePolicy()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{max_share: 60}", "failover.max_share: 60 is not a percentage"),
        ("{max_share: 0%}", "failover.max_share: 0% is too little"),
        ("{panic_threshold: 101%}", "failover.panic_threshold: 101% is too much"),
        (
            "{ejection: {success_rate_stdev_factor: 0}}",
            "failover.ejection.success_rate_stdev_factor: 0 is not a factor",
        ),
        (
            "{ejection: {base_ejection_time: 2s, max_ejection_time: 1s}}",
            "the longest ejection is shorter than the first",
        ),
        ("{services: {payments: {}}}", '"payments" is not a service pattern'),
        ("{services: {a/b: {affinity: near}}}", 'failover.services."a/b".affinity'),
        ("{services: {a/b: {pin: west, max_share: 50%}}}", "max_share: pin leaves nothing to choose from"),
        ("{services: {a/b: {affinity: none, weights: {west: 1}}}}", "with none all clusters are alike"),
        ("{services: {a/b: {weights: {west: 0}}}}", "no cluster has any weight"),
        ("{services: {a/b: {weights: {west: -1}}}}", "-1 is not a weight"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, expected: str) -> None:
    """With its path, before anything starts."""
    (problem,) = problems(text)
    assert expected in problem


@pytest.mark.parametrize("rule", ["pin: eu", "weights: {east: 1, eu: 1}"])
def test_a_cluster_that_is_not_there_yet_is_a_warning(rule: str) -> None:
    """It may join later; and one that leaves must not make the file unusable."""
    (problem,) = parse_config(f"{BASE}{{services: {{a/b: {{{rule}}}}}}}", Path("cluster.yaml")).problems
    assert problem.warning
    assert '"eu" is neither this cluster nor among peers' in str(problem)
