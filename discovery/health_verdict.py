"""What one more result of a check says about an endpoint. Pure: a table over states and results."""

from __future__ import annotations

import enum
from collections.abc import Callable

from discovery.model import HealthCheck


class EndpointState(enum.StrEnum):
    """Only `UNHEALTHY` and `AWAITED` endpoints are not used."""

    UNCHECKED = "unchecked"
    """The service has no check, or the endpoint nothing that could be checked."""
    ASSUMED = "assumed"
    AWAITED = "awaited"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"

    @property
    def usable(self) -> bool:
        return self not in (EndpointState.AWAITED, EndpointState.UNHEALTHY)


def judge(state: EndpointState, streak: int, passed: bool, check: HealthCheck) -> tuple[EndpointState, int]:
    """An endpoint's next state and streak (results in a row that spoke against the state) after one more result.

    A first success is enough for what never failed; `rise` are asked of what did.
    """
    transition = _TRANSITIONS[state, passed]
    if transition is None:
        return state, 0
    needed, target = transition
    streak += 1
    return (target, 0) if streak >= needed(check) else (state, streak)


def _one(check: HealthCheck) -> int:
    return 1


def _rise(check: HealthCheck) -> int:
    return check.rise


def _fall(check: HealthCheck) -> int:
    return check.fall


_TRANSITIONS: dict[tuple[EndpointState, bool], tuple[Callable[[HealthCheck], int], EndpointState] | None] = {
    (EndpointState.ASSUMED, True): (_one, EndpointState.HEALTHY),
    (EndpointState.ASSUMED, False): (_fall, EndpointState.UNHEALTHY),
    (EndpointState.AWAITED, True): (_one, EndpointState.HEALTHY),
    (EndpointState.AWAITED, False): (_fall, EndpointState.UNHEALTHY),
    (EndpointState.HEALTHY, True): None,
    (EndpointState.HEALTHY, False): (_fall, EndpointState.UNHEALTHY),
    (EndpointState.UNHEALTHY, True): (_rise, EndpointState.HEALTHY),
    (EndpointState.UNHEALTHY, False): None,
    # A result that was under way while the check was taken away.
    (EndpointState.UNCHECKED, True): None,
    (EndpointState.UNCHECKED, False): None,
}
