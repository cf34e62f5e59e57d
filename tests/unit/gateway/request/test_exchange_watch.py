"""Exchanges that have no timer yet, and when they get one."""

from __future__ import annotations

import pytest

from gateway.codec.events import Data
from gateway.request.exchange_watch import PATIENCE_S, YOUNG_S, is_patient
from gateway.traffic import IDLE_S, Retries, Timeouts, Traffic
from tests.exchange_play import WEST, Play, ok


def test_a_request_that_ends_soon_leaves_nothing_behind() -> None:
    """No timer, and nobody who remembers it: the deadline that young ones share is the only one."""
    play = Play(WEST).begin()
    assert (len(play.watch), play.exchange.timer) == (1, None)
    play.answer(ok(end=True))
    assert len(play.watch) == 0
    assert len(play.deadlines) == 1
    play.wait_until(2 * YOUNG_S)
    assert (play.exchange.timer, len(play.deadlines)) == (None, 0)


def test_a_request_that_lasts_gets_its_timer() -> None:
    """Silence counts from there on, a second late at most."""
    play = Play(WEST).begin().answer(ok(), Data(1, b"x", False)).wait_until(YOUNG_S)
    assert play.exchange.timer is not None
    assert len(play.watch) == 0
    play.wait_until(IDLE_S - 1.0)
    assert play.outcomes == []
    play.wait_until(IDLE_S + 2 * YOUNG_S)
    assert play.outcomes == [(200, "idle-timeout")]


def test_those_that_begin_later_are_seen_as_well() -> None:
    """The shared deadline is set anew when there is somebody to wait for."""
    play = Play(WEST).begin().answer(ok(end=True)).wait_until(5.0)
    play.watch.add(play.exchange)
    assert play.deadlines.next() == 5.0 + YOUNG_S


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(timeouts=Timeouts(request_s=60.0)),
        Traffic(timeouts=Timeouts(attempt_s=60.0)),
        Traffic(timeouts=Timeouts(idle_s=PATIENCE_S / 2)),
        Traffic(timeouts=Timeouts(tunnel_idle_s=PATIENCE_S / 2)),
        Traffic(retries=Retries(hedge_after_s=0.1)),
        Traffic(retries=Retries(hedge_after_quantile=0.9)),
    ],
)
def test_what_may_happen_soon_is_not_waited_for(traffic: Traffic) -> None:
    """Each of these begins a timer at once."""
    assert not is_patient(traffic)
    assert is_patient(Traffic(timeouts=Timeouts(idle_s=0.0, tunnel_idle_s=0.0)))
