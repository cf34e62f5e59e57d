"""Several attempts of one request: after an error that came as an answer, beside one that is late, and over limits."""

from __future__ import annotations

import pytest

from gateway.codec.events import Data, ErrorCode, Header, Response, ResponseHead
from gateway.codec.headers import ATTEMPT
from gateway.failover.retry import HEDGE, Failure
from gateway.failover.target import LocalTarget, Target
from gateway.route import Origin
from gateway.traffic import Retries, Traffic
from tests.exchange_play import EU, UNHEALTHY, WEST, Play, ok

HERE: tuple[Target, ...] = (LocalTarget("h:1"), LocalTarget("h:2"), LocalTarget("h:3"))


def error(status: int, *headers: Header, end: bool = True) -> Response:
    return Response(1, ResponseHead(status, [*headers]), end)


# Statuses.


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateways_error_is_replaced_by_another_places_answer(status: int) -> None:
    play = Play(WEST, EU).begin().answer(error(status)).answer(ok(end=True))
    assert play.client.said == [("response", 200, True)]
    assert play.verdicts == [(WEST, status, 0.0), (EU, 200, 0.0)]
    assert play.retries == [Failure.STATUS]


def test_other_errors_are_answers() -> None:
    for status in (500, 501, 429, 404):
        assert Play(WEST, EU).begin().answer(error(status)).outcomes == [(status, "")]


def test_which_statuses_is_configured() -> None:
    traffic = Traffic(retries=Retries(statuses=(500,)))
    assert Play(WEST, EU, traffic=traffic).begin().answer(error(503)).outcomes == [(503, "")]
    assert Play(WEST, EU, traffic=traffic).begin().answer(error(500), ok(end=True)).asked == [WEST, EU]


def test_what_an_ejected_place_answers_on_trial_is_nobodys_error() -> None:
    """It has just returned, or the request was on its way when it was ejected: any error of it is asked elsewhere, but
    for what its owner wants passed on."""
    play = Play(WEST, EU)
    play.doubted.add(WEST)
    play.begin().answer(error(500)).answer(ok(end=True))
    assert play.outcomes == [(200, "")]
    assert play.verdicts == [(WEST, 500, 0.0), (EU, 200, 0.0)]
    for status, statuses in ((501, (502,)), (404, (502,)), (500, ())):
        play = Play(WEST, EU, traffic=Traffic(retries=Retries(statuses=statuses)))
        play.doubted.add(WEST)
        assert play.begin().answer(error(status)).outcomes == [(status, "")]


def test_a_post_keeps_its_error() -> None:
    assert Play(WEST, EU, method=b"POST").begin().answer(error(503)).asked == [WEST]


def test_the_last_error_is_passed_on_when_there_is_nowhere_else_to_go() -> None:
    """The endpoint's own words, with their body, and not ours."""
    play = Play(WEST, EU).begin().answer(error(503)).answer(error(502, end=False), Data(1, b"sorry", True))
    assert play.client.said == [("response", 502, False), ("data", b"sorry", True)]
    assert play.outcomes == [(502, "")]


def test_the_budget_decides_whether_an_error_is_tried_again() -> None:
    play = Play(WEST, EU)
    play.budget = False
    assert play.begin().answer(error(503)).outcomes == [(503, "")]


def test_attempts_are_counted() -> None:
    play = Play(*HERE, traffic=Traffic(retries=Retries(attempts=2))).begin()
    play.answer(error(503)).answer(error(503))
    assert play.asked == [*HERE[:2]]
    assert play.outcomes == [(503, "")]


# Over two gateways.


def test_the_next_gateway_gets_a_part_of_the_attempts() -> None:
    play = Play(WEST, EU).begin()
    assert (ATTEMPT, b"1;last=2") in play.heads[0].headers
    play.lose()
    assert (ATTEMPT, b"3;last=3") in play.heads[1].headers, "what the first one did with its part nobody knows"


def test_attempts_that_the_next_gateway_did_not_use_are_ours_again() -> None:
    play = Play(WEST, EU).begin().answer(Response(1, UNHEALTHY, True))
    assert (ATTEMPT, b"2;last=2") in play.heads[1].headers
    play = Play(WEST, EU).begin().answer(error(503, (ATTEMPT, b"2")))
    assert (ATTEMPT, b"3;last=3") in play.heads[1].headers


def test_a_number_that_a_peer_cannot_have_reached_is_not_believed() -> None:
    for said in (b"99", b"0", b"-1", b"", b"9" * 400, b"1;last=2"):
        play = Play(WEST, EU).begin().answer(error(503, (ATTEMPT, said)))
        assert play.exchange.made <= 5


def test_the_count_of_attempts_stays_between_gateways() -> None:
    play = Play(WEST).begin()
    response = error(404, (ATTEMPT, b"1"), (b"x", b"y"))
    play.answer(response)
    assert response.head.headers == [(b"x", b"y")]


def test_a_peers_request_goes_no_further_than_it_says() -> None:
    play = Play(*HERE, headers=[(ATTEMPT, b"2;last=3")], origin=Origin(peer="west")).begin()
    refusal = play.answer(error(503)).answer(error(503, (b"x", b"y")))
    assert refusal.asked == [*HERE[:2]]
    assert play.client.heads[0].headers == [(b"x", b"y"), (ATTEMPT, b"3")], "so that the caller goes on from there"


def test_a_peers_request_that_is_its_last_attempt_is_tried_once() -> None:
    for said in (b"4;last=4", b"4"):
        play = Play(*HERE, headers=[(ATTEMPT, said)], origin=Origin(peer="west")).begin().lose()
        assert len(play.asked) == 1
        assert play.outcomes == [(502, "upstream-connection-lost")]


def test_our_own_limit_holds_for_peers_as_well() -> None:
    traffic = Traffic(retries=Retries(attempts=2))
    play = Play(*HERE, headers=[(ATTEMPT, b"1;last=9")], origin=Origin(peer="west"), traffic=traffic).begin()
    play.lose().lose()
    assert play.asked == [*HERE[:2]]


def test_only_a_peer_counts() -> None:
    """A workload that sends the field is not believed."""
    play = Play(*HERE, headers=[(ATTEMPT, b"4;last=4")]).begin().lose()
    assert len(play.asked) == 2


@pytest.mark.parametrize("reason", ["connect-failure", "refused-stream", "no-healthy-upstream", "overflow"])
def test_what_a_peers_gateway_did_nothing_with_goes_elsewhere(reason: str) -> None:
    """Also a POST."""
    play = Play(WEST, EU, method=b"POST").begin().answer(error(503, (b"isthmus-reason", reason.encode())))
    assert play.asked == [WEST, EU]


def test_a_grpc_client_hears_a_peers_refusal_in_its_own_terms() -> None:
    grpc = [(b"content-type", b"application/grpc")]
    play = Play(WEST, method=b"POST", headers=grpc).begin()
    play.answer(error(504, (b"isthmus-reason", b"upstream-timeout"), end=False))
    assert play.outcomes == [(504, "upstream-timeout")], "refused anew here, where gRPC is spoken to the client"
    assert play.verdicts == [(WEST, 504, 0.0)]


# Hedges.


def hedged(*targets: Target, method: bytes = b"GET", ended: bool = True) -> Play:
    play = Play(*targets, method=method, ended=ended)
    play.hedge_after_s = 0.5
    return play.begin()


def test_a_late_request_is_sent_to_a_second_place() -> None:
    play = hedged(WEST, EU).wait_until(0.4)
    assert play.asked == [WEST]
    play.wait_until(0.5)
    assert play.asked == [WEST, EU]
    assert play.retries == [HEDGE]
    play.wait_until(60.0)
    assert len(play.asked) == 2, "and to no third"


@pytest.mark.parametrize("winner", [0, 1])
def test_the_first_answer_wins_and_the_other_attempt_is_reset(winner: int) -> None:
    play = hedged(WEST, EU).wait_until(0.7).answer(ok(), Data(1, b"x", True), upstream=winner)
    assert play.client.said == [("response", 200, False), ("data", b"x", True)]
    assert play.upstreams[1 - winner][1].said[-1] == ("reset", ErrorCode.CANCEL)
    assert play.outcomes == [(200, "")]
    assert [target for target, _, _ in play.verdicts] == [play.asked[winner]], "who was not waited for is not judged"
    play.answer(ok(end=True), upstream=1 - winner)
    assert len(play.client.said) == 2


def test_a_response_that_is_held_has_not_won_yet() -> None:
    """The first one's head came, its body hangs: the hedge may still be whole before it."""
    play = hedged(WEST, EU).wait_until(0.4).answer(ok(2), Data(1, b"a", False)).wait_until(0.6)
    assert play.asked == [WEST, EU]
    play.answer(ok(2), Data(1, b"xy", True), upstream=1)
    assert play.client.said == [("response", 200, False), ("data", b"xy", True)]


def test_one_that_fails_leaves_it_to_the_other() -> None:
    play = hedged(WEST, EU).wait_until(0.6).lose(0)
    assert play.outcomes == []
    play.answer(error(503), upstream=1)
    assert play.outcomes == [(503, "")], "the last one's own answer, as there is no third place"


def test_an_error_loses_against_an_attempt_that_may_still_answer() -> None:
    play = hedged(WEST, EU).wait_until(0.6).answer(error(503), upstream=1)
    assert play.outcomes == []
    play.answer(ok(end=True), upstream=0)
    assert play.outcomes == [(200, "")]


def test_both_fail() -> None:
    play = hedged(WEST, EU).wait_until(0.6).lose(0).lose(1)
    assert play.outcomes == [(502, "upstream-connection-lost")]
    assert play.exchange.attempts == []


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"POST", b"CONNECT"])
def test_only_safe_methods_are_hedged(method: bytes) -> None:
    """An idempotent one may be repeated; at the same time with itself nobody promised."""
    assert len(hedged(WEST, EU, method=method, ended=method != b"CONNECT").wait_until(9.0).asked) == 1


def test_hedges_count_against_the_budget_and_the_attempts() -> None:
    play = hedged(WEST, EU)
    play.budget = False
    assert play.wait_until(9.0).asked == [WEST]
    play = Play(*HERE, traffic=Traffic(retries=Retries(attempts=1)))
    play.hedge_after_s = 0.5
    assert len(play.begin().wait_until(9.0).asked) == 1


def test_an_answer_in_time_needs_no_hedge() -> None:
    assert hedged(WEST, EU).wait_until(0.3).answer(ok()).wait_until(9.0).asked == [WEST]


def test_there_is_no_second_place() -> None:
    play = hedged(WEST).wait_until(9.0)
    assert play.retries == []
    assert play.answer(ok(end=True)).outcomes == [(200, "")]


def test_a_client_that_gives_up_ends_both() -> None:
    play = hedged(WEST, EU).wait_until(0.6)
    play.exchange.on_request_reset()
    assert [recorder.said[-1] for _, recorder, _ in play.upstreams] == [("reset", ErrorCode.CANCEL)] * 2


# Limits.


def test_over_a_limit_the_answer_is_503_at_once() -> None:
    """Nothing goes elsewhere: a limit here would be load there. And nobody is blamed."""
    play = Play(WEST, EU)
    play.overflows = {WEST}
    play.begin()
    assert play.outcomes == [(503, "overflow")]
    assert (play.asked, play.verdicts) == ([], [])


def test_a_hedge_over_a_limit_is_none() -> None:
    play = Play(WEST, EU)
    play.hedge_after_s, play.overflows = 0.5, {EU}
    play.begin().wait_until(1.0)
    assert play.outcomes == []
    assert play.answer(ok(end=True)).outcomes == [(200, "")]


def test_a_retry_over_a_limit_is_refused() -> None:
    play = Play(WEST, EU)
    play.overflows = {EU}
    assert play.begin().lose().outcomes == [(503, "overflow")]
