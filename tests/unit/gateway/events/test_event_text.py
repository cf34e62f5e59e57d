"""What people read of what happened."""

from __future__ import annotations

import pytest

from discovery.health_state import EndpointHealthChanged
from discovery.model import Endpoint, Port, Protocol, ServiceName, ZoneHealth
from federation.freshness import Freshness, Reason
from federation.report import PeerTransition
from federation.service_view import ExportView, ServiceView
from gateway.events.cause_text import describe_cause
from gateway.events.event_text import (
    EVENT_KINDS,
    changed_exports,
    from_endpoint,
    from_exports,
    from_failover,
    from_link,
    from_transition,
)
from gateway.failover.events import Cause, EventKind, FailoverEvent

NAME = ServiceName("shop", "payments")
HTTP = Port("http", 80, Protocol.HTTP)


def view(**healthy: int | None) -> ServiceView:
    """Clusters and how many of their three endpoints are healthy; None: they do not say."""
    exports = tuple(
        ExportView(cluster, (HTTP,), () if n is None else (ZoneHealth("", n, 3),), 1.0, Freshness.FRESH)
        for cluster, n in healthy.items()
    )
    return ServiceView(NAME, (HTTP,), exports, ())


def said(before: ServiceView | None, after: ServiceView | None) -> list[tuple[str, str]]:
    return [(told.kind, told.message) for told in from_exports(changed_exports(before, after), 5.0, 5)]


def test_offers_that_come_go_and_lose_their_health() -> None:
    """Failover turns on these; a change of capacity alone is no event."""
    assert said(None, view(west=3)) == [("export-added", "west offers it: 3 of 3 healthy")]
    assert said(view(west=3), None) == [("export-withdrawn", "west offers it no longer")]
    assert said(view(west=3), view(west=1)) == []
    assert said(view(west=3, eu=1), view(west=0, eu=1)) == [
        ("cluster-unhealthy", "west has no healthy endpoint any more: 0 of 3 healthy")
    ]
    assert said(view(west=0), view(west=2)) == [("cluster-healthy", "west has healthy endpoints again: 2 of 3 healthy")]
    assert said(None, view(west=None)) == [("export-added", "west offers it")]
    assert said(view(west=None), view(west=None)) == []


def test_changed_ports_are_named() -> None:
    """A conflict of ports shows as this."""
    after = ServiceView(NAME, (), (ExportView("west", (), (ZoneHealth("", 3, 3),), 1.0, Freshness.FRESH),), ())
    assert said(view(west=3), after) == [("export-changed", "west offers it with other ports: none")]


def test_a_peer_that_brings_its_whole_catalog_is_one_event() -> None:
    """Ten thousand lines help nobody."""
    many = [change for _ in range(50) for change in changed_exports(None, view(west=3))]
    [one] = from_exports(many, 5.0, 5)
    assert (one.kind, one.where, one.service, one.numbers) == ("export-added", "west", "", {"services": 50.0})
    assert [told.service for told in from_exports(many[:5], 5.0, 5)] == [str(NAME)] * 5


def test_endpoints_say_which_check_failed_and_how_often() -> None:
    """The numbers are there for programs as well."""
    endpoint = Endpoint("127.0.0.1", {"http": 9001})
    change = EndpointHealthChanged(NAME, endpoint, False, "refused", check="tcp", results=3)
    happening = from_endpoint(change, 5.0, 2.4)
    assert happening.message == "127.0.0.1:9001 is unhealthy: its tcp check failed (refused) 3 times in a row"
    assert (happening.kind, happening.where, happening.cause) == ("endpoint-unhealthy", "127.0.0.1:9001", "refused")
    assert happening.numbers == {"results": 3.0, "for_s": 2.4}
    back = from_endpoint(EndpointHealthChanged(NAME, endpoint, True, "check-passed", check="http", results=1), 5.0, 0)
    assert back.message == "127.0.0.1:9001 is healthy: its http check passed 1 time"
    new = from_endpoint(EndpointHealthChanged(NAME, endpoint, False, "not-checked-yet"), 5.0, 0)
    assert new.message == "127.0.0.1:9001 is unhealthy: not-checked-yet"


def test_links_name_what_went_wrong_once() -> None:
    """Every tunnel has the same error; an empty one is none."""
    down = from_link("west", False, ["10.0.0.1:15443: refused", "", "10.0.0.1:15443: refused"], 5.0)
    assert down.message == "no tunnel to west is ready: 10.0.0.1:15443: refused"
    assert from_link("west", True, [], 5.0).kind == "link-up"


def test_freshness_is_told_with_its_reason() -> None:
    seen = PeerTransition("west", Freshness.FRESH, Freshness.SUSPECT, Reason.LINK_DOWN, 5.0)
    assert from_transition(seen).message == "what west said is suspect, was fresh (link-down)"


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("cause", Cause)
def test_every_decision_of_failover_has_words(kind: EventKind, cause: Cause) -> None:
    """A new kind or cause without words would raise in the controller."""
    told = from_failover(FailoverEvent(5.0, "shop/payments", kind, "west", cause, {"consecutive": 5, "for_s": 30}))
    assert told.message.endswith("(consecutive 5, for 30 s)")
    assert (describe_cause(cause) in told.message) == (cause is not Cause.TIME_OVER)
    assert told.kind in EVENT_KINDS


def test_who_lost_the_requests_is_named() -> None:
    """Or else the preferred place, of which the cause is then."""
    event = FailoverEvent(5.0, "a/b", EventKind.FAILED_OVER, "eu", Cause.TUNNELS, lost="west")
    assert from_failover(event).message == (
        "west gets nothing any more, eu takes over: tunnels to it ended or fell silent"
    )
    event = FailoverEvent(5.0, "a/b", EventKind.EXHAUSTED, "east/a", Cause.PUBLISHED_HEALTH)
    assert from_failover(event).message == (
        "the preferred place gets nothing any more and no place is left, requests are refused: "
        "so the owner's health checks say"
    )


def test_shares_are_shown_in_per_cent() -> None:
    event = FailoverEvent(
        5.0, "a/b", EventKind.SPILLED, "east", Cause.PUBLISHED_HEALTH, {"share.west": 0.7, "rtt_ms": 12.5}
    )
    assert from_failover(event).message.endswith("(west 70%, rtt 12.5 ms)")
