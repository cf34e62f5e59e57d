"""The state machine of one request, played without sockets: what passes, what is tried again, how it ends."""

from __future__ import annotations

import pytest

from discovery.model import Protocol
from gateway.codec.events import Data, ErrorCode, Informational, Reset, Response, ResponseHead, Trailers
from gateway.failover.retry import REPLAY_BYTES, Failure
from gateway.failover.target import LocalTarget
from gateway.request.attempt import HELD_RESPONSE_BYTES
from gateway.request.exchange_answers import CONTINUE_S
from gateway.traffic import Retries, Traffic
from tests.exchange_play import EU, UNHEALTHY, WEST, Play, ok


def test_a_request_and_its_answer_pass() -> None:
    """The plain case: head, body, end; both connections' windows are given back."""
    play = Play(WEST, method=b"POST", ended=False).begin()
    play.send(Data(1, b"body", True)).answer(ok(), Data(1, b"answer", True))
    assert play.upstreams[0][1].said == [("request", b"POST", False), ("data", b"body", True)]
    assert play.client.said == [("response", 200, False), ("data", b"answer", True)]
    assert play.outcomes == [(200, "")]
    assert play.client.consumed_bytes == 4
    assert play.upstreams[0][1].consumed_bytes == 6
    assert not play.down.handlers
    assert not play.upstreams[0][2].handlers


def test_trailers_and_informational_responses_pass() -> None:
    play = Play(WEST, method=b"POST", ended=False).begin()
    play.send(Trailers(1, [(b"t", b"1")]))
    (attempt,) = play.exchange.attempts
    attempt.on_informational(ResponseHead(103, []))
    attempt.on_informational(ResponseHead(100, []))
    play.answer(ok(), Data(1, b"x", False), Trailers(1, [(b"grpc-status", b"0")]))
    assert play.upstreams[0][1].said[-1] == ("trailers", [(b"t", b"1")])
    assert play.client.said == [
        ("informational", 103),
        ("response", 200, False),
        ("data", b"x", False),
        ("trailers", [(b"grpc-status", b"0")]),
    ]
    assert play.outcomes == [(200, "")]


EXPECT = (b"expect", b"100-continue")


def test_a_client_is_told_to_go_on_by_its_upstream() -> None:
    """Once: a second attempt's upstream says it too."""
    play = Play(WEST, method=b"POST", ended=False, headers=[EXPECT]).begin()
    play.answer(Informational(1, ResponseHead(100, [])), Informational(1, ResponseHead(100, [])))
    assert play.client.said == [("informational", 100)]
    assert play.wait_until(5.0).client.said == [("informational", 100)]


def test_a_client_is_told_to_go_on_when_nobody_else_says_so() -> None:
    """Endpoints that never heard of it are left waiting for a body by a client that waits to be asked for it."""
    play = Play(WEST, method=b"PUT", ended=False, headers=[EXPECT]).begin().wait_until(CONTINUE_S - 0.1)
    assert play.client.said == []
    assert play.wait_until(CONTINUE_S).client.said == [("informational", 100)]


@pytest.mark.parametrize("status", [413, 200])
def test_a_client_that_was_answered_is_not_told_to_go_on(status: int) -> None:
    """Its body is not wanted, whether or not the answer has ended."""
    for end in (True, False):
        play = Play(WEST, method=b"POST", ended=False, headers=[EXPECT]).begin()
        play.answer(Response(1, ResponseHead(status, []), end)).wait_until(5.0)
        assert play.client.said == [("response", status, end)]


def test_a_client_that_is_gone_is_not_told_to_go_on() -> None:
    play = Play(WEST, method=b"POST", ended=False, headers=[EXPECT]).begin()
    play.send(Reset(1, ErrorCode.CANCEL)).wait_until(5.0)
    assert play.client.said == []


def test_a_client_that_does_not_wait_is_not_told_to_go_on() -> None:
    """RFC 9110 section 15.2: what it has not asked for is not passed on."""
    play = Play(WEST, method=b"POST", ended=False).begin().answer(Informational(1, ResponseHead(100, [])))
    assert play.wait_until(5.0).client.said == []


def test_no_route_is_404_with_its_reason() -> None:
    assert Play(routed=False).begin().outcomes == [(404, "no-route")]


def test_no_target_is_503_with_its_reason() -> None:
    play = Play().begin()
    assert play.outcomes == [(503, "no-healthy-upstream")]
    assert play.client.said == [("response", 503, True)]


def test_a_lost_gateway_costs_a_get_nothing() -> None:
    """The cluster dies with the request in it: another one answers, the client sees one response."""
    play = Play(WEST, EU).begin().lose()
    assert play.asked == [WEST, EU]
    assert play.retries == [Failure.CONNECTION_LOST]
    play.answer(ok(end=True))
    assert play.client.said == [("response", 200, True)]


def test_a_post_that_may_have_been_processed_is_not_repeated() -> None:
    play = Play(WEST, EU, method=b"POST").begin().lose()
    assert play.asked == [WEST]
    assert play.outcomes == [(502, "upstream-connection-lost")]


def test_a_post_that_was_provably_not_processed_is_repeated_with_its_body() -> None:
    """REFUSED_STREAM: RFC 9113 section 8.7."""
    play = Play(WEST, EU, method=b"POST", ended=False).begin().send(Data(1, b"a", False))
    play.answer(Reset(1, ErrorCode.REFUSED_STREAM, unprocessed=True)).send(Data(1, b"b", True))
    assert play.upstreams[1][1].said == [("request", b"POST", False), ("data", b"a", False), ("data", b"b", True)]
    play.answer(ok(end=True))
    assert play.outcomes == [(200, "")]
    assert play.client.consumed_bytes >= 2


def test_a_cluster_without_a_healthy_endpoint_sends_the_request_elsewhere() -> None:
    """Also a POST: the answer says that nothing was done with it."""
    play = Play(WEST, EU, method=b"POST").begin().answer(Response(1, UNHEALTHY, False))
    assert play.asked == [WEST, EU]
    assert ("reset", ErrorCode.CANCEL) in play.upstreams[0][1].said
    play.answer(Response(1, UNHEALTHY, True))
    assert play.outcomes == [(503, "no-healthy-upstream")]


def test_only_a_gateway_may_say_that_nothing_was_done() -> None:
    """An endpoint that answers in a gateway's words is passed on, without them."""
    play = Play(LocalTarget("127.0.0.1:1"), EU, method=b"POST").begin().answer(Response(1, UNHEALTHY, True))
    assert play.asked == [LocalTarget("127.0.0.1:1")]
    assert play.outcomes == [(503, "")]


def test_a_body_beyond_the_buffer_is_tried_once() -> None:
    play = Play(WEST, EU, method=b"PUT", ended=False).begin()
    play.send(Data(1, b"x" * (REPLAY_BYTES + 1), False))
    assert play.exchange.held_body == []
    play.lose()
    assert play.asked == [WEST]
    assert play.outcomes == [(502, "upstream-connection-lost")]


def test_a_small_response_is_held_until_it_is_whole() -> None:
    """The upstream dies between head and body: the client never saw the head, so another one answers."""
    play = Play(WEST, EU).begin().answer(ok(10), Data(1, b"12345", False))
    assert play.client.said == []
    play.lose().answer(ok(10), Data(1, b"12345", False), Data(1, b"67890", True))
    assert play.client.said == [("response", 200, False), ("data", b"12345", False), ("data", b"67890", True)]
    assert play.outcomes == [(200, "")]


def test_a_held_response_with_trailers_loses_nothing() -> None:
    play = Play(WEST).begin().answer(ok(2), Data(1, b"a", False), Data(1, b"b", False), Trailers(1, [(b"t", b"1")]))
    said = [("response", 200, False), ("data", b"a", False), ("data", b"b", False), ("trailers", [(b"t", b"1")])]
    assert play.client.said == said


def test_large_and_unbounded_responses_stream_at_once() -> None:
    for head in (ok(HELD_RESPONSE_BYTES + 1), ok()):
        play = Play(WEST, EU).begin().answer(head)
        assert play.client.said == [("response", 200, False)]


def test_a_response_that_breaks_off_is_broken_off() -> None:
    """Nothing can be repeated once the client has seen a part: it must not look whole."""
    play = Play(WEST, EU).begin().answer(ok(), Data(1, b"part", False)).lose()
    assert play.client.said[-1] == ("reset", ErrorCode.INTERNAL_ERROR)
    assert play.outcomes == [(200, "upstream-connection-lost")]


def test_the_budget_has_the_last_word() -> None:
    play = Play(WEST, EU)
    play.budget = False
    play.begin().answer(Reset(1, ErrorCode.INTERNAL_ERROR))
    assert play.outcomes == [(502, "upstream-reset")]


def test_a_client_that_gives_up_frees_the_upstream() -> None:
    play = Play(WEST).begin().send(Reset(1, ErrorCode.CANCEL))
    assert play.upstreams[0][1].said[-1] == ("reset", ErrorCode.CANCEL)
    assert play.outcomes == [(0, "downstream-reset")]
    play.answer(ok(end=True))
    assert play.client.said == []


def test_a_body_that_comes_before_the_connection_waits_for_it() -> None:
    play = Play(LocalTarget("h:1"), method=b"POST", ended=False)
    play.connect_later = True
    play.begin().send(Data(1, b"early", True))
    assert play.client.consumed_bytes == 0
    play.connect(play.pending[0])
    assert play.upstreams[0][1].said == [("request", b"POST", False), ("data", b"early", True)]


def test_a_connection_that_cannot_be_had_is_another_targets_turn() -> None:
    play = Play(LocalTarget("h:1"), LocalTarget("h:2"), method=b"POST")
    play.connect_later = True
    play.begin()
    play.pending[0].failed(Failure.CONNECT, "refused")
    play.pending[1].failed(Failure.CONNECT, "refused")
    assert play.retries == [Failure.CONNECT], "the second failure found nowhere to go"
    assert play.outcomes == [(503, "no-healthy-upstream")]


def test_an_early_answer_ends_the_upload() -> None:
    """A 413 before the body has come: the upstream's stream is given up, the client has its answer."""
    play = Play(WEST, method=b"POST", ended=False).begin().send(Data(1, b"a", False))
    play.answer(Response(1, ResponseHead(413, []), True)).send(Data(1, b"b", False))
    assert play.client.said == [("response", 413, True)]
    assert play.upstreams[0][1].said[-1] == ("reset", ErrorCode.CANCEL)
    assert play.client.consumed_bytes == 2


def test_a_tunnelled_connection_ends_when_both_sides_have() -> None:
    """Half-close: the server's end does not end what the client still sends, and the other way round."""
    play = Play(WEST, method=b"CONNECT", ended=False).begin()
    play.answer(ok(), Data(1, b"hello", True)).send(Data(1, b"more", False))
    assert play.outcomes == []
    play.send(Data(1, b"", True))
    assert play.upstreams[0][1].said[1:] == [("data", b"more", False), ("data", b"", True)]
    assert play.outcomes == [(200, "")]


@pytest.mark.parametrize("status", [200, 204, 301, 426, 503])
def test_an_upgrade_that_is_not_accepted_is_an_ordinary_request(status: int) -> None:
    """No more is waited for than its answer: the upstream hears the end of the request, and what the client meant for
    the other protocol goes nowhere, but its window is given back."""
    play = Play(WEST, method=b"CONNECT", ended=False, upgrade=b"foo").begin()
    play.answer(Response(1, ResponseHead(status, []), False)).send(Data(1, b"raw", False))
    assert play.upstreams[0][1].said == [("request", b"CONNECT", False), ("data", b"", True)]
    assert play.client.consumed_bytes == 3
    play.answer(Data(1, b"page", True))
    assert play.client.said == [("response", status, False), ("data", b"page", True)]
    assert play.outcomes == [(status, "")]
    assert not play.down.handlers
    assert not play.upstreams[0][2].handlers


def test_a_tunnel_that_is_refused_is_over() -> None:
    """The client of a CONNECT need not end its side: the exchange would be kept for as long as it says nothing."""
    play = Play(WEST, method=b"CONNECT", ended=False).begin()
    play.answer(Response(1, ResponseHead(403, []), True))
    assert play.outcomes == [(403, "")]
    assert not play.upstreams[0][2].handlers


def test_an_upgrade_ends_when_both_sides_have() -> None:
    """101 is what accepts it; each side ends by itself."""
    play = Play(WEST, method=b"CONNECT", ended=False, upgrade=b"foo").begin()
    play.answer(Response(1, ResponseHead(101, []), False), Data(1, b"bye", True))
    assert play.outcomes == []
    play.send(Data(1, b"bye", True))
    assert play.upstreams[0][1].said[-1] == ("data", b"bye", True)
    assert play.outcomes == [(101, "")]


def test_a_tunnelled_connection_may_fail_over_until_it_is_accepted() -> None:
    play = Play(WEST, EU, method=b"CONNECT", ended=False).begin().send(Data(1, b"hi", False))
    play.answer(Response(1, UNHEALTHY, True))
    assert play.upstreams[1][1].said == [("request", b"CONNECT", False), ("data", b"hi", False)]
    play.answer(ok()).lose()
    assert play.client.said[-1] == ("reset", ErrorCode.INTERNAL_ERROR)


def test_each_attempt_has_one_verdict() -> None:
    """Ejection counts them: the one that was lost, and the one that answered, with how long each took."""
    play = Play(WEST, EU).begin()
    play.now = 2.0
    play.lose()
    play.now = 3.0
    play.answer(ok(2))
    play.now = 9.0
    play.answer(Data(1, b"ok", True))
    assert play.verdicts == [(WEST, Failure.CONNECTION_LOST, 2.0), (EU, 200, 1.0)]


def test_a_response_that_is_lost_in_the_middle_is_a_failure() -> None:
    """An endpoint that sends heads and then dies must not look healthy."""
    play = Play(WEST, method=b"POST").begin().answer(ok(), Data(1, b"half", False)).lose()
    assert play.verdicts == [(WEST, Failure.CONNECTION_LOST, 0.0)]


def test_no_healthy_upstream_is_the_other_clusters_failure() -> None:
    play = Play(WEST, EU).begin().answer(Response(1, UNHEALTHY, True)).answer(ok(end=True))
    assert play.verdicts == [(WEST, Failure.NO_HEALTHY_UPSTREAM, 0.0), (EU, 200, 0.0)]


def test_a_client_that_gives_up_before_the_answer_judges_nobody() -> None:
    """Clients with short patience would eject healthy upstreams."""
    assert Play(WEST).begin().send(Reset(1, ErrorCode.CANCEL, unprocessed=False)).verdicts == []


def test_a_client_that_gives_up_after_the_answer_judges_by_the_answer() -> None:
    """Streams of events always end so."""
    play = Play(WEST).begin().answer(ok(), Data(1, b"event", False))
    play.send(Reset(1, ErrorCode.CANCEL, unprocessed=False))
    assert play.verdicts == [(WEST, 200, 0.0)]


def test_a_connect_is_judged_when_it_is_accepted() -> None:
    """A TCP connection may last for days, and ends for reasons of its own."""
    play = Play(WEST, method=b"CONNECT", ended=False).begin().answer(ok())
    assert play.verdicts == [(WEST, 200, 0.0)]
    play.lose()
    assert play.verdicts == [(WEST, 200, 0.0)]


def test_grpc_is_judged_by_its_status() -> None:
    """Its HTTP status is always 200 (gRPC over HTTP/2, Responses)."""
    play = Play(WEST, method=b"POST", protocol=Protocol.GRPC).begin()
    play.answer(ok(), Data(1, b"x", False), Trailers(1, [(b"grpc-status", b"14")]))
    assert play.verdicts == [(WEST, 503, 0.0)]
    play = Play(WEST, method=b"POST", protocol=Protocol.GRPC).begin()
    play.answer(Response(1, ResponseHead(200, [(b"grpc-status", b"5")]), True))
    assert play.verdicts == [(WEST, 404, 0.0)]


def stall(play: Play, *, mute: bool = False) -> None:
    play.upstreams[-1][2].stall(mute=mute)


def test_what_may_be_repeated_leaves_a_silent_upstream() -> None:
    """A frozen gateway may answer in a minute. The verdict on it is not the request's: it may only be slow."""
    play = Play(WEST, EU).begin()
    stall(play)
    assert play.asked == [WEST, EU]
    assert ("reset", ErrorCode.CANCEL) in play.upstreams[0][1].said
    play.answer(ok(end=True))
    assert play.outcomes == [(200, "")]
    assert [target for target, _, _ in play.verdicts] == [EU]


def test_a_silent_upstream_is_better_than_none() -> None:
    """Moved nowhere, the request would fail, and a peer that only lags would still have answered it."""
    play = Play(WEST).begin()
    stall(play)
    play.answer(ok(end=True))
    assert play.outcomes == [(200, "")]


def test_without_hope_a_request_is_refused_instead_of_left_waiting() -> None:
    """Every place is down or silent: its client learns why, and may do without or ask again. The verdict on the peer is
    the tunnel's."""
    play = Play(WEST).begin()
    play.hopeless = True
    stall(play)
    assert play.outcomes == [(503, "no-healthy-upstream")]
    assert ("reset", ErrorCode.CANCEL) in play.upstreams[0][1].said
    assert play.verdicts == []


def test_without_hope_a_request_without_attempts_left_is_refused_as_well() -> None:
    """Where it has been before does not make it wait."""
    play = Play(WEST, EU, traffic=Traffic(retries=Retries(attempts=1))).begin()
    stall(play)
    assert play.asked == [WEST]
    play.hopeless = True
    play.targets.remove(EU)
    stall(play)
    assert play.outcomes == [(503, "no-healthy-upstream")]


@pytest.mark.parametrize("method", [b"POST", b"CONNECT"])
def test_without_hope_what_may_have_been_done_still_waits(method: bytes) -> None:
    """It cannot be repeated, and may still be answered."""
    play = Play(WEST, method=method).begin()
    play.hopeless = True
    stall(play)
    stall(play, mute=True)
    assert play.outcomes == []


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"CONNECT"])
def test_what_may_have_been_done_stays_at_a_silent_upstream(method: bytes) -> None:
    """It may have been done there already."""
    play = Play(WEST, EU, method=method).begin()
    stall(play)
    assert play.asked == [WEST]


def test_an_answer_that_has_begun_stays_at_a_silent_upstream() -> None:
    """The client has a part of it, and another upstream's would not fit."""
    play = Play(WEST, EU).begin().answer(ok(100_000))
    stall(play)
    assert play.asked == [WEST]


def test_what_may_have_been_done_leaves_a_mute_upstream_if_it_can_begin_elsewhere() -> None:
    """Its client decides whether to try again, and is not kept waiting for a gateway that may be frozen for good."""
    play = Play(WEST, EU, method=b"POST").begin()
    stall(play, mute=True)
    assert play.asked == [WEST]
    assert play.outcomes == [(502, "upstream-connection-lost")]
    assert ("reset", ErrorCode.CANCEL) in play.upstreams[0][1].said
    assert play.verdicts == [(WEST, Failure.CONNECTION_LOST, 0.0)]


@pytest.mark.parametrize("method", [b"GET", b"POST", b"CONNECT"])
def test_a_mute_upstream_is_better_than_none(method: bytes) -> None:
    """A peer that is far too busy answers within seconds; a refusal would send its client nowhere."""
    play = Play(WEST, method=method).begin()
    stall(play, mute=True)
    assert play.outcomes == []
    play.answer(ok(end=method != b"CONNECT"))
    assert ("response", 200, method != b"CONNECT") in play.client.said
