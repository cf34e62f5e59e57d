"""What results mean, and when checks are due: no clock, no socket."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.health_state import HealthBook, Probe
from discovery.health_verdict import EndpointState, judge
from discovery.model import Endpoint, HealthCheck, LocalService, Port, Protocol, ServiceName

PAYMENTS = ServiceName("shop", "payments")
CHECK = HealthCheck(http_path="/healthz", interval_s=1.0, timeout_s=1.0, rise=2, fall=3)
HTTP = Port("http", 80, Protocol.HTTP)


def endpoint(port: int = 9001, **more: str) -> Endpoint:
    return Endpoint("127.0.0.1", {"http": port}, **more)


def service(*endpoints: Endpoint, check: HealthCheck | None = CHECK, ports: tuple[Port, ...] = (HTTP,)) -> LocalService:
    return LocalService(PAYMENTS, ports, endpoints, check)


class Book:
    """A `HealthBook` with a clock that the test turns and a list of what it said."""

    def __init__(self) -> None:
        self.book = HealthBook()
        self.now = 100.0
        self.rng = random.Random(7)
        self.said: list[tuple[int, bool, str]] = []

    def upsert(self, described: LocalService) -> None:
        self._note(self.book.upsert(described, self.now, self.rng))

    def due(self) -> list[Probe]:
        """Turns the clock to the next check, and takes what is due."""
        due = self.book.next_due()
        assert due is not None
        self.now = max(self.now, due)
        return self.book.take_due(self.now)

    def record(self, probe: Probe, failure: str | None) -> None:
        self._note(self.book.record(probe, failure, self.now, self.rng))

    def rounds(self, **results: str | None) -> None:
        """One check of each endpoint, by port (`p9001="refused"`)."""
        left = dict(results)
        while left:
            for probe in self.due():
                self.record(probe, left.pop(f"p{probe.port}"))

    def states(self) -> dict[int, EndpointState]:
        return {status.endpoint.ports["http"]: status.state for status in self.book.endpoints(PAYMENTS)}

    def _note(self, changes: list) -> None:  # type: ignore[type-arg]
        self.said += [(change.endpoint.ports["http"], change.healthy, change.reason) for change in changes]


@pytest.fixture
def book() -> Book:
    return Book()


def test_a_new_service_is_used_before_its_first_check(book: Book) -> None:
    """A restart of the gateway is no outage: nothing is withheld, nothing announced."""
    book.upsert(service(endpoint(9001), endpoint(9002)))
    assert set(book.states().values()) == {EndpointState.ASSUMED}
    assert book.said == []
    assert book.book.is_healthy(PAYMENTS, endpoint(9001))


def test_an_assumed_endpoint_falls_after_as_many_failures_as_any(book: Book) -> None:
    """A slow first answer on a busy machine must not take a service down."""
    book.upsert(service(endpoint()))
    book.rounds(p9001="timeout")
    book.rounds(p9001="timeout")
    assert book.said == []
    book.rounds(p9001="refused")
    assert book.said == [(9001, False, "refused")]
    assert not book.book.is_healthy(PAYMENTS, endpoint())


def test_a_newcomer_waits_for_its_first_success(book: Book) -> None:
    """It joins endpoints that serve, so nothing is lost; one success is enough, as it never failed."""
    book.upsert(service(endpoint(9001)))
    book.rounds(p9001=None)
    book.upsert(service(endpoint(9001), endpoint(9002)))
    assert book.said == [(9002, False, "not-checked-yet")]
    [probe] = book.due()
    assert probe.port == 9002
    book.record(probe, None)
    assert book.said[1:] == [(9002, True, "check-passed")]


def test_a_newcomer_is_checked_at_once(book: Book) -> None:
    """Capacity that was added shall serve now, not an interval later."""
    book.upsert(service(endpoint(9001)))
    book.rounds(p9001=None)
    book.upsert(service(endpoint(9001), endpoint(9002)))
    assert [probe.port for probe in book.book.take_due(book.now)] == [9002]


def test_replacing_every_endpoint_leaves_the_service_up(book: Book) -> None:
    """With nobody else to serve, newcomers are assumed healthy."""
    book.upsert(service(endpoint(9001)))
    book.rounds(p9001=None)
    book.upsert(service(endpoint(9002)))
    assert book.states() == {9002: EndpointState.ASSUMED}
    assert book.said == []


def test_an_endpoint_returns_after_rise_successes_in_a_row(book: Book) -> None:
    """A single lucky answer of a failing endpoint is not enough."""
    book.upsert(service(endpoint()))
    for result in ("refused", "refused", "refused", None, "refused", None):
        book.rounds(p9001=result)
    assert book.said == [(9001, False, "refused")]
    book.rounds(p9001=None)
    assert book.said[1:] == [(9001, True, "check-passed")]


def test_a_success_forgives_earlier_failures(book: Book) -> None:
    """`fall` counts failures in a row, not in total."""
    book.upsert(service(endpoint()))
    for result in (None, "timeout", "timeout", None, "timeout", "timeout", None):
        book.rounds(p9001=result)
    assert book.said == []


def test_without_a_check_nothing_is_probed(book: Book) -> None:
    """No check configured: healthy, and no traffic of ours."""
    book.upsert(service(endpoint(), check=None))
    assert book.states() == {9001: EndpointState.UNCHECKED}
    assert book.book.next_due() is None


def test_taking_the_check_away_brings_endpoints_back(book: Book) -> None:
    """Nobody could ever call them healthy again otherwise; a result under way no longer counts."""
    book.upsert(service(endpoint()))
    for _ in range(3):
        book.rounds(p9001="http-500")
    [under_way] = book.due()
    book.upsert(service(endpoint(), check=None))
    book.record(under_way, "http-500")
    assert book.said == [(9001, False, "http-500"), (9001, True, "no-check")]
    assert book.book.next_due() is None


def test_a_changed_check_keeps_what_is_known(book: Book) -> None:
    """An edit of the interval must not bring dead endpoints back, nor plan two checks of one endpoint."""
    book.upsert(service(endpoint()))
    for _ in range(3):
        book.rounds(p9001="refused")
    book.upsert(service(endpoint(), check=HealthCheck(interval_s=5.0)))
    assert book.states() == {9001: EndpointState.UNHEALTHY}
    [probe] = book.due()
    assert probe.protocol is None
    assert book.book.next_due() is None


def test_a_result_that_was_overtaken_is_ignored(book: Book) -> None:
    """The service was removed, or removed and described anew, while its check was under way."""
    book.upsert(service(endpoint(), check=HealthCheck(fall=1)))
    [old] = book.due()
    book.book.remove(PAYMENTS)
    book.record(old, "refused")
    book.upsert(service(endpoint(), check=HealthCheck(fall=1)))
    book.record(old, "refused")
    assert book.said == []
    assert book.book.next_due() is not None


def test_a_removed_service_is_checked_no_more(book: Book) -> None:
    """Planned checks vanish with the service."""
    book.upsert(service(endpoint(9001), endpoint(9002)))
    book.book.remove(PAYMENTS)
    book.book.remove(PAYMENTS)
    assert book.book.next_due() is None
    assert [*book.book.counts()] == []
    assert book.book.is_healthy(PAYMENTS, endpoint()), "nothing is known against it"


def test_a_corrected_zone_keeps_the_endpoints_health(book: Book) -> None:
    """Where it listens makes an endpoint the same; its zone and host name are remarks."""
    book.upsert(service(endpoint()))
    for _ in range(3):
        book.rounds(p9001="refused")
    book.upsert(service(endpoint(zone="b", hostname="payments-0")))
    [status] = book.book.endpoints(PAYMENTS)
    assert (status.endpoint.zone, status.healthy, status.reason) == ("b", False, "refused")


def test_checks_are_spread_and_do_not_drift_into_a_burst(book: Book) -> None:
    """First checks lie within one interval, later ones 0.9 to 1 interval from start to start."""
    book.upsert(service(*(endpoint(9000 + number) for number in range(50))))
    started: dict[int, list[float]] = {}
    while len(started.get(9000, ())) < 4:
        for probe in book.due():
            started.setdefault(probe.port, []).append(book.now)
            book.record(probe, None)
    firsts = sorted(times[0] - 100.0 for times in started.values())
    assert firsts[0] >= 0
    assert firsts[-1] <= 1.0
    assert firsts[-1] - firsts[0] > 0.8
    for times in started.values():
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(0.899 <= gap <= 1.001 for gap in gaps)


def test_a_check_that_times_out_does_not_delay_the_next(book: Book) -> None:
    """Finding a hanging endpoint takes `fall` intervals, not `fall` times interval and timeout; and checks of one
    endpoint never overlap."""
    book.upsert(service(endpoint()))
    [probe] = book.due()
    started = book.now
    assert book.book.next_due() is None, "no second check while one is under way"
    book.now += 1.0
    book.record(probe, "timeout")
    assert book.book.next_due() == started + 1.0


def test_what_was_never_judged_is_checked_soon_whatever_its_interval(book: Book) -> None:
    """A gateway that starts beside a dead endpoint must not send requests there for `fall` long intervals."""
    book.upsert(service(endpoint(), check=HealthCheck(interval_s=3600.0, fall=3)))
    for _ in range(3):
        book.rounds(p9001="refused")
    assert book.said == [(9001, False, "refused")]
    assert book.now - 100.0 <= 3.0
    [_] = book.due()
    assert book.now - 100.0 > 3000, "from then on it is checked as often as configured"


def test_a_check_says_whether_its_endpoint_is_down_already(book: Book) -> None:
    """The driver keeps those that may hang from delaying the others: also one that fails for the first time."""
    book.upsert(service(endpoint(), check=HealthCheck(rise=1, fall=2)))
    down = []
    for result in (None, "timeout", "timeout", None, None):
        [probe] = book.due()
        down.append(probe.down)
        book.record(probe, result)
    assert down == [False, False, False, True, False]


def test_a_verdict_says_since_when(book: Book) -> None:
    """A person asks since when it is down: since the first of the checks that failed in a row, not the last."""
    book.upsert(service(endpoint(), check=HealthCheck(fall=3)))
    book.rounds(p9001=None)
    changes = []
    began = 0.0
    for number in range(3):
        [probe] = book.due()
        began = began or book.now
        changes = book.book.record(probe, "refused", book.now, book.rng)
        assert bool(changes) == (number == 2)
    [change] = changes
    assert (change.check, change.results, change.since) == ("tcp", 3, began)
    [status] = book.book.endpoints(PAYMENTS)
    assert (status.check, status.since, status.state) == ("tcp", began, EndpointState.UNHEALTHY)


@given(st.floats(0.1, 60.0), st.integers(1, 5), st.floats(0.0, 0.99), st.integers(0, 2**32))
def test_a_dead_endpoint_is_known_within_fall_intervals(interval_s: float, fall: int, moment: float, seed: int) -> None:
    """Whenever it dies between two checks: DESIGN's promise for endpoints that refuse."""
    book, rng = HealthBook(), random.Random(seed)
    book.upsert(service(endpoint(), check=HealthCheck(interval_s=interval_s, fall=fall)), 0.0, rng)
    [probe] = book.take_due(now := book.next_due() or 0.0)
    book.record(probe, None, now, rng)
    died = now + moment * ((book.next_due() or 0.0) - now)
    for _ in range(fall):
        [probe] = book.take_due(now := book.next_due() or 0.0)
        said = book.record(probe, "refused", now, rng)
    assert [change.healthy for change in said] == [False]
    assert now - died <= interval_s * fall * (1 + 1e-9)


GRPC = HealthCheck(grpc_service="")


@pytest.mark.parametrize(
    ("ports", "check", "expected"),
    [
        ([Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC], GRPC, (3, Protocol.GRPC)),
        ([Protocol.HTTP, Protocol.HTTP2], GRPC, (2, Protocol.GRPC)),
        ([Protocol.TCP], GRPC, (1, Protocol.GRPC)),
        ([Protocol.TCP, Protocol.HTTP], HealthCheck(), (1, None)),
        ([Protocol.TCP, Protocol.HTTP], CHECK, (2, Protocol.HTTP)),
        ([Protocol.GRPC, Protocol.HTTP], CHECK, (2, Protocol.HTTP)),
        ([Protocol.TCP, Protocol.GRPC], CHECK, (2, Protocol.HTTP2)),
        ([Protocol.HTTP2], CHECK, (1, Protocol.HTTP2)),
        ([Protocol.TCP], CHECK, (1, Protocol.HTTP)),
    ],
)
def test_which_port_is_checked(
    book: Book, ports: list[Protocol], check: HealthCheck, expected: tuple[int, Protocol | None]
) -> None:
    """An HTTP check goes where HTTP is spoken, in the version that is spoken there."""
    described = tuple(Port(f"p{number}", number, protocol) for number, protocol in enumerate(ports, 1))
    target = Endpoint("127.0.0.1", {port.name: port.port for port in described})
    book.upsert(service(target, check=check, ports=described))
    [probe] = book.due()
    assert (probe.port, probe.protocol) == expected


def test_ports_that_change_under_a_planned_check(book: Book) -> None:
    """An endpoint that has none of the service's ports any more can't be checked; it is again when they return."""
    book.upsert(service(endpoint()))
    book.upsert(service(endpoint(), ports=(Port("other", 81, Protocol.HTTP),)))
    assert book.book.next_due() is None
    assert book.states() == {9001: EndpointState.UNCHECKED}
    book.upsert(service(endpoint()))
    assert len(book.due()) == 1


@pytest.mark.parametrize("state", EndpointState)
@pytest.mark.parametrize("passed", [True, False])
def test_no_state_and_result_escape_the_table(state: EndpointState, passed: bool) -> None:
    """Every state takes every result, and a streak never exceeds what it is counted against."""
    after, streak = judge(state, 0, passed, CHECK)
    assert after in EndpointState
    assert streak < max(CHECK.rise, CHECK.fall)


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_health_follows_the_last_results(results: list[bool], rise: int, fall: int) -> None:
    """Unhealthy only after `fall` failures in a row, healthy again only after `rise` successes in a row."""
    check = HealthCheck(rise=rise, fall=fall)
    state, streak = EndpointState.HEALTHY, 0
    for index, passed in enumerate(results):
        before = state
        state, streak = judge(state, streak, passed, check)
        if before is not state:
            run = fall if state is EndpointState.UNHEALTHY else rise
            assert index + 1 >= run
            assert set(results[index + 1 - run : index + 1]) == {state is EndpointState.HEALTHY}
    if len(results) >= fall and not any(results[-fall:]):
        assert state is EndpointState.UNHEALTHY
    if len(results) >= rise and all(results[-rise:]):
        assert state is EndpointState.HEALTHY
