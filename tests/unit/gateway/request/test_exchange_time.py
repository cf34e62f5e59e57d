"""What time does to an exchange, on a clock that the test sets."""

from __future__ import annotations

import pytest

from discovery.model import Protocol
from gateway.codec.events import Data, ErrorCode, Response, ResponseHead, Trailers
from gateway.failover.retry import Failure
from gateway.failover.target import LocalTarget
from gateway.request.exchange_watch import YOUNG_S
from gateway.traffic import IDLE_S, TUNNEL_IDLE_S, Retries, Timeouts, Traffic
from tests.exchange_play import EU, WEST, Play, ok

GRPC = (b"content-type", b"application/grpc+proto")


def within(request_s: float = 0.0, attempt_s: float = 0.0, idle_s: float = IDLE_S) -> Traffic:
    return Traffic(timeouts=Timeouts(request_s, attempt_s, idle_s, idle_s if idle_s != IDLE_S else TUNNEL_IDLE_S))


def test_by_default_a_request_may_take_long() -> None:
    """As in Istio: nothing but silence is limited, and that after five minutes."""
    play = Play(WEST).begin().wait_until(IDLE_S - 1)
    assert play.outcomes == []
    play.answer(ok(), Data(1, b"x", False)).wait_until(2 * IDLE_S - 2)
    assert play.outcomes == []
    play.answer(Data(1, b"", True))
    assert play.outcomes == [(200, "")]
    assert play.deadlines.next() == float("inf") or len(play.deadlines) == 1


def test_a_request_that_takes_too_long_is_504() -> None:
    play = Play(WEST, traffic=within(request_s=2.0)).begin().wait_until(1.9)
    assert play.client.said == []
    play.wait_until(2.0)
    assert play.outcomes == [(504, "upstream-timeout")]
    assert play.client.said == [("response", 504, True)]
    assert play.upstreams[0][1].said[-1] == ("reset", ErrorCode.CANCEL)
    assert play.verdicts == [(WEST, Failure.TIMEOUT, 2.0)]


def test_the_time_of_a_request_begins_with_its_end() -> None:
    """As in Envoy: an upload takes as long as it takes, then the upstream's time begins."""
    play = Play(WEST, method=b"POST", ended=False, traffic=within(request_s=2.0, attempt_s=1.0)).begin()
    play.wait_until(5.0).send(Data(1, b"a", False)).wait_until(9.0).send(Data(1, b"b", True)).wait_until(9.9)
    assert play.outcomes == []
    play.wait_until(10.0)
    assert play.outcomes == [(504, "upstream-timeout")], "after attempt_s, and a POST is not tried again"


def test_a_response_in_time_that_does_not_end_in_time_is_broken_off() -> None:
    play = Play(WEST, traffic=within(request_s=2.0)).begin().answer(ok(), Data(1, b"part", False)).wait_until(2.0)
    assert play.client.said[-1] == ("reset", ErrorCode.INTERNAL_ERROR)
    assert play.outcomes == [(200, "upstream-timeout")]
    assert play.verdicts == [(WEST, 200, 0.0)], "the head came in time"


def test_an_attempt_that_takes_too_long_is_tried_elsewhere() -> None:
    play = Play(WEST, EU, traffic=within(attempt_s=1.0)).begin().wait_until(1.0)
    assert play.asked == [WEST, EU]
    assert play.verdicts == [(WEST, Failure.TIMEOUT, 1.0)]
    play.wait_until(1.5).answer(ok(end=True))
    assert play.outcomes == [(200, "")]
    assert play.retries == [Failure.TIMEOUT]


def test_each_attempt_has_its_own_time() -> None:
    play = Play(WEST, EU, traffic=within(attempt_s=1.0)).begin().wait_until(1.9)
    assert play.outcomes == []
    play.wait_until(2.0)
    assert play.outcomes == [(504, "upstream-timeout")]


def test_a_post_is_not_tried_again_after_a_timeout() -> None:
    play = Play(WEST, EU, method=b"POST", traffic=within(attempt_s=1.0)).begin().wait_until(1.0)
    assert play.asked == [WEST]
    assert play.outcomes == [(504, "upstream-timeout")]


def test_timeouts_cost_the_retry_budget() -> None:
    play = Play(WEST, EU, traffic=within(attempt_s=1.0))
    play.budget = False
    assert play.begin().wait_until(1.0).outcomes == [(504, "upstream-timeout")]


def test_the_request_bounds_its_attempts() -> None:
    play = Play(WEST, EU, traffic=within(request_s=1.5, attempt_s=1.0)).begin().wait_until(1.5)
    assert play.asked == [WEST, EU]
    assert play.outcomes == [(504, "upstream-timeout")]


def test_an_attempt_that_has_answered_has_all_the_time() -> None:
    """As in Envoy: what the client has seen cannot be tried again, so only the request's own limit counts."""
    play = Play(WEST, EU, traffic=within(attempt_s=1.0)).begin().answer(ok()).wait_until(60.0)
    assert play.outcomes == []
    play.answer(Data(1, b"", True))
    assert play.outcomes == [(200, "")]


def test_a_response_that_is_held_is_not_an_answer_yet() -> None:
    """Its head came and its body does not: nothing was passed on, so another place may answer."""
    play = Play(WEST, EU, traffic=within(attempt_s=1.0)).begin().answer(ok(10)).wait_until(1.0)
    assert play.asked == [WEST, EU]
    play.answer(ok(end=True))
    assert play.outcomes == [(200, "")]


def test_an_attempt_that_waits_for_its_connection_is_given_up_as_well() -> None:
    play = Play(LocalTarget("h:1"), LocalTarget("h:2"), traffic=within(attempt_s=1.0))
    play.connect_later = True
    play.begin().wait_until(1.0)
    assert [attempt.ended for attempt in play.pending] == [True, False]
    play.connect(play.pending[1])
    play.answer(ok(end=True))
    assert play.outcomes == [(200, "")]


def test_nothing_moves_while_the_upstream_is_waited_for() -> None:
    play = Play(WEST, traffic=within(idle_s=10.0)).begin().wait_until(10.0)
    assert play.outcomes == [(504, "upstream-timeout")]
    assert play.verdicts == [(WEST, Failure.TIMEOUT, 10.0)]


def test_a_client_that_does_not_send_the_rest_is_408() -> None:
    """It is its own fault: the upstream is not blamed."""
    play = Play(WEST, method=b"POST", ended=False, traffic=within(idle_s=10.0)).begin()
    play.wait_until(9.0).send(Data(1, b"a", False)).wait_until(18.9)
    assert play.outcomes == []
    play.wait_until(19.0)
    assert play.outcomes == [(408, "downstream-timeout")]
    assert play.verdicts == []


def test_a_stream_that_falls_silent_is_broken_off() -> None:
    play = Play(WEST, traffic=within(idle_s=10.0)).begin().answer(ok())
    for now in range(8, 40, 8):
        play.wait_until(now).answer(Data(1, b"event", False))
    assert play.outcomes == []
    play.wait_until(42.0)
    assert play.outcomes == [(200, "idle-timeout")]
    assert play.client.said[-1] == ("reset", ErrorCode.INTERNAL_ERROR)


def test_a_slow_reader_is_not_silent() -> None:
    """Nothing new comes for it while it reads what is here: what waits becomes less, and that is movement."""
    play = Play(WEST, traffic=within(idle_s=10.0)).begin().answer(ok(), Data(1, b"x", False))
    for i in range(8):
        play.client.queued_bytes = 100_000 - i * 1000
        play.wait_until(10.0 * i)
    assert play.outcomes == []
    play.wait_until(90.0)
    assert play.outcomes == [(200, "idle-timeout")], "and now it has stopped"


@pytest.mark.parametrize("ended", [False, True])
def test_only_silence_ends_a_tunnelled_connection(ended: bool) -> None:
    """TCP and WebSocket: a request's and an attempt's time have no meaning there."""
    play = Play(WEST, method=b"CONNECT", ended=False, traffic=within(1.0, 1.0, idle_s=60.0)).begin().wait_until(50.0)
    play.answer(ok()).send(Data(1, b"x", ended)).wait_until(109.0)
    assert play.outcomes == []
    play.wait_until(110.0)
    assert play.outcomes == [(200, "idle-timeout")]


def test_a_tunnelled_connection_may_be_silent_for_an_hour() -> None:
    play = Play(WEST, method=b"CONNECT", ended=False).begin().answer(ok()).wait_until(TUNNEL_IDLE_S - 1)
    assert play.outcomes == []
    assert play.wait_until(TUNNEL_IDLE_S + YOUNG_S).outcomes == [(200, "idle-timeout")]


def test_no_limit_at_all() -> None:
    """0 turns each off, and then there is nothing in the worker's heap."""
    play = Play(WEST, traffic=within(idle_s=0.0)).begin().wait_until(YOUNG_S)
    assert len(play.deadlines) == 0


def test_a_request_that_has_ended_waits_for_nothing() -> None:
    """Its deadline is empty: nothing happens, and it keeps nothing alive."""
    play = Play(WEST, traffic=within(1.0, 1.0, 1.0)).begin().answer(ok(end=True)).wait_until(10.0)
    assert play.outcomes == [(200, "")]
    assert play.client.said == [("response", 200, True)]


def test_a_clients_own_deadline() -> None:
    """`grpc-timeout` counts from the call's beginning, also while the client still sends; and it says nothing of the
    upstream: clients with short patience would eject healthy ones."""
    play = Play(WEST, method=b"POST", ended=False, protocol=Protocol.GRPC, headers=[GRPC, (b"grpc-timeout", b"2S")])
    play.begin().send(Data(1, b"x", False)).wait_until(1.9)
    assert play.outcomes == []
    play.wait_until(2.0)
    assert play.outcomes == [(504, "upstream-timeout")]
    assert play.verdicts == []


def late_call() -> Play:
    """A call whose response has begun, and whose client waits two seconds."""
    play = Play(WEST, method=b"POST", ended=False, protocol=Protocol.GRPC, headers=[GRPC, (b"grpc-timeout", b"2S")])
    return play.begin().answer(ok(), Data(1, b"message", False))


def test_a_call_that_is_late_after_it_began_ends_as_calls_do() -> None:
    """With the trailers that a gRPC server would send: a reset says to most clients that something is broken."""
    play = late_call().wait_until(2.0)
    assert play.client.said[-1] == (
        "trailers",
        [(b"grpc-status", b"4"), (b"grpc-message", b"upstream-timeout: the time that its client gives it is over")],
    )
    assert play.outcomes == [(200, "upstream-timeout")]
    assert play.upstreams[0][1].said[-1] == ("reset", ErrorCode.CANCEL)
    assert play.verdicts == [(WEST, 200, 0.0)]


def test_a_late_call_does_not_wait_for_its_reader() -> None:
    """Trailers come after what is queued, and that may never be read: the stream ends as a cancelled call, which gRPC's
    clients take for a deadline that is over."""
    play = late_call()
    play.client.queued_bytes = 7
    play.wait_until(2.0)
    assert play.client.said[-1] == ("reset", ErrorCode.CANCEL)
    assert play.outcomes == [(200, "upstream-timeout")]


def test_a_silent_call_ends_as_calls_do() -> None:
    """Our own limits are told like the client's."""
    play = Play(WEST, method=b"POST", headers=[GRPC], traffic=within(idle_s=3.0)).begin().answer(ok()).wait_until(3.0)
    assert play.client.said[-1][1][0] == (b"grpc-status", b"4")
    assert play.outcomes == [(200, "idle-timeout")]


def test_what_is_no_answer_of_grpc_is_broken_off() -> None:
    """An error page of a proxy has no trailers that anybody would read."""
    play = Play(WEST, method=b"POST", headers=[GRPC], traffic=within(idle_s=3.0)).begin()
    play.answer(Response(1, ResponseHead(404, []), False)).wait_until(3.0)
    assert play.client.said[-1] == ("reset", ErrorCode.INTERNAL_ERROR)


def test_a_clients_deadline_is_bounded_by_ours() -> None:
    headers = [GRPC, (b"grpc-timeout", b"1H")]
    play = Play(WEST, method=b"POST", headers=headers, traffic=within(request_s=3.0)).begin()
    timer = play.exchange.timer
    assert timer is not None
    assert timer.call_left_s(1.0) == pytest.approx(2.0)
    assert play.wait_until(3.0).outcomes == [(504, "upstream-timeout")]


def test_what_is_passed_on_of_a_deadline_is_what_is_left() -> None:
    play = Play(WEST, method=b"POST", headers=[GRPC, (b"grpc-timeout", b"500m")]).begin()
    timer = play.exchange.timer
    assert timer is not None
    assert timer.call_left_s(0.2) == pytest.approx(0.3)
    play = Play(WEST, method=b"POST", headers=[GRPC, (b"grpc-timeout", b"soon")]).begin()
    timer = play.exchange.timer
    assert timer is not None
    assert timer.call_left_s(0.2) is None, "the endpoint's to refuse"


def test_a_call_that_streams_ends_with_its_trailers() -> None:
    play = Play(WEST, method=b"POST", headers=[GRPC, (b"grpc-timeout", b"2S")]).begin()
    play.answer(ok(), Data(1, b"x", False), Trailers(1, [(b"grpc-status", b"0")])).wait_until(5.0)
    assert play.outcomes == [(200, "")]


def test_another_attempt_does_not_begin_after_the_end() -> None:
    """All that was due at once: the request's limit comes first."""
    play = Play(WEST, EU, traffic=Traffic(Timeouts(request_s=1.0, attempt_s=1.0), Retries())).begin().wait_until(5.0)
    assert play.asked == [WEST]
    assert play.client.said == [("response", 504, True)]
    assert play.exchange.attempts == []


def test_informational_responses_do_not_begin_the_answer() -> None:
    play = Play(WEST, EU, traffic=within(attempt_s=1.0)).begin()
    play.exchange.attempts[0].on_informational(ResponseHead(103, []))
    play.wait_until(1.0)
    assert play.asked == [WEST, EU]
