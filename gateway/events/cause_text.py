"""Causes of failover decisions in words. Pure."""

from __future__ import annotations

from gateway.failover.events import Cause

_CAUSES = {
    Cause.GATEWAY_ERRORS: "requests to it failed in a row without a good answer",
    Cause.SERVER_ERRORS: "requests to it were answered with 5xx in a row",
    Cause.SUCCESS_RATE: "more of its requests failed than of the others'",
    Cause.PUBLISHED_HEALTH: "so the owner's health checks say",
    Cause.TUNNELS: "tunnels to it ended or fell silent",
    Cause.EJECTION: "requests failed there",
    Cause.STALE: "nothing was heard of the cluster for long",
    Cause.SLOW_START: "it has just come back, and gets its share little by little",
    Cause.TIME_OVER: "it was well for long enough",
    Cause.LIMIT: "one of its limits is reached",
    Cause.CONFIGURATION: "the service or the configuration changed",
}


def describe_cause(cause: Cause) -> str:
    return _CAUSES[cause]
