"""The sections `timeouts`, `retries` and `limits` of cluster.yaml: for all services, for patterns, for one.

What holds for a service is put together key by key: from its own entry among `services`, else from the entry of the
section's `services` that names it, or of the first pattern that matches it, else from the section itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import Field

from discovery.config import ServiceConfig
from discovery.config_values import Section
from discovery.traffic_config import Hedge, LimitsConfig, RetriesConfig, TimeoutsConfig
from federation.config import ServicePattern
from gateway.traffic import DEFAULT_TRAFFIC, Limits, Retries, Timeouts, TrafficSettings, matching

_Config = TypeVar("_Config", TimeoutsConfig, RetriesConfig, LimitsConfig)
_Value = TypeVar("_Value", Timeouts, Retries, Limits)


class TimeoutsForAll(TimeoutsConfig):
    """How long requests may take, of all services and of some."""

    services: dict[ServicePattern, TimeoutsConfig] = Field(default_factory=dict)


class RetriesForAll(RetriesConfig):
    """How often requests are tried, of all services and of some."""

    services: dict[ServicePattern, RetriesConfig] = Field(default_factory=dict)


class LimitsForAll(LimitsConfig):
    """How much one worker carries at once, of all services and of some."""

    services: dict[ServicePattern, LimitsConfig] = Field(default_factory=dict)


def traffic_settings(
    timeouts: TimeoutsForAll, retries: RetriesForAll, limits: LimitsForAll, services: Sequence[ServiceConfig]
) -> TrafficSettings:
    """As the workers get it."""
    own = {str(service.service_name): service for service in services}
    return TrafficSettings(
        timeouts=_rules(timeouts, timeouts.services, {name: s.timeouts for name, s in own.items()}, _timeouts),
        retries=_rules(retries, retries.services, {name: s.retries for name, s in own.items()}, _retries),
        limits=_rules(limits, limits.services, {name: s.limits for name, s in own.items()}, _limits),
    )


def _rules(
    for_all: _Config,
    patterns: Mapping[str, _Config],
    own: Mapping[str, _Config],
    compile_: Callable[[Sequence[Section]], _Value],
) -> tuple[tuple[str, _Value], ...]:
    """The services' own first, then patterns, those that are a service's name before the others, then all."""
    ordered = sorted(patterns, key=lambda pattern: "*" in pattern)
    rules: list[tuple[str, _Value]] = []
    for name, config in own.items():
        if config.model_fields_set:
            wider = matching(ordered, name)
            between: list[Section] = [patterns[wider]] if wider is not None else []
            rules.append((name, compile_([config, *between, for_all])))
    rules += [(pattern, compile_([patterns[pattern], for_all])) for pattern in ordered]
    rules.append(("*", compile_([for_all])))
    return tuple(rules)


def _first(sections: Sequence[Section], key: str, default: Any) -> Any:
    """The value of the narrowest section that gives one."""
    given = (getattr(section, key) for section in sections)
    return next((value for value in given if value is not None), default)


def _values(sections: Sequence[Section], default: Timeouts | Retries | Limits, *keys: str) -> dict[str, Any]:
    return {key: _first(sections, key, getattr(default, key)) for key in keys}


def _timeouts(sections: Sequence[Section]) -> Timeouts:
    default = DEFAULT_TRAFFIC.timeouts
    tunnel_idle_s: float = _first(sections, "idle_s", default.tunnel_idle_s)
    return Timeouts(**_values(sections, default, "request_s", "attempt_s", "idle_s"), tunnel_idle_s=tunnel_idle_s)


def _retries(sections: Sequence[Section]) -> Retries:
    hedge: Hedge = _first(sections, "hedge_after", (0.0, 0.0))
    values = _values(sections, DEFAULT_TRAFFIC.retries, "attempts", "statuses")
    return Retries(**values, hedge_after_s=hedge[0], hedge_after_quantile=hedge[1])


def _limits(sections: Sequence[Section]) -> Limits:
    return Limits(**_values(sections, DEFAULT_TRAFFIC.limits, "connections", "pending", "requests", "retries"))
