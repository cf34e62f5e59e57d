"""How requests to a service are carried, as cluster.yaml says it: of one service here, and in sections for all.

A key that is not given says nothing: what holds then is what the wider section says.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import Field, PlainValidator

from discovery.config_values import Section, duration, parse_duration, refuse, show, whole_number

_QUANTILE = re.compile(r"p([5-9][0-9])")
_Limit = Annotated[int, whole_number(1, 10_000_000, "a limit")]
_Time = Annotated[float, duration("0s", "24h")]
_HEDGE_FORM = "a duration, like 50ms, or a percentile from p50 to p99, like p95"
_LEAST_HEDGE_S, _MOST_HEDGE_S = 0.001, 3600.0

Hedge: TypeAlias = tuple[float, float]
"""(seconds, share): one of them is above 0, or neither for never."""


def _hedge(value: Any) -> Hedge:
    text = value if isinstance(value, str) else ""
    if text == "never":
        return (0.0, 0.0)
    if found := _QUANTILE.fullmatch(text):
        return (0.0, int(found[1]) / 100)
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise refuse(f"{show(value)} is not a time to hedge after", f"{_HEDGE_FORM}; or never") from None
    if not _LEAST_HEDGE_S <= seconds <= _MOST_HEDGE_S:
        raise refuse(f"{text} is too {'short' if seconds < _LEAST_HEDGE_S else 'long'}", "1ms to 1h")
    return (seconds, 0.0)


class TimeoutsConfig(Section):
    """How long requests may take; 0s: as long as they like."""

    request_s: _Time | None = Field(default=None, alias="request")
    attempt_s: _Time | None = Field(default=None, alias="attempt")
    idle_s: _Time | None = Field(default=None, alias="idle")


class RetriesConfig(Section):
    """How often requests are tried."""

    attempts: Annotated[int, whole_number(1, 20, "a number of attempts")] | None = None
    statuses: tuple[Annotated[int, whole_number(500, 599, "a status of an error")], ...] | None = None
    hedge_after: Annotated[Hedge, PlainValidator(_hedge)] | None = None


class LimitsConfig(Section):
    """How much one worker carries at once."""

    connections: _Limit | None = None
    pending: _Limit | None = None
    requests: _Limit | None = None
    retries: _Limit | None = None
