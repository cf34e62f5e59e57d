"""When a silent connection is asked, and when it is given up."""

from __future__ import annotations

import math
import random

from federation.etcd.liveness import ANSWER_S, PING_INTERVAL_S, QUIET_S, Liveness


def test_an_idle_connection_is_never_asked() -> None:
    """etcd counts a PING without an open stream as abuse."""
    assert Liveness(0.0).decide(1e6, busy=False) == ("wait", math.inf)


def test_silence_is_asked_once_and_then_judged() -> None:
    """A second of silence, a PING, and 1.5 s for its answer."""
    liveness = Liveness(0.0)
    liveness.became_busy(100.0)
    assert liveness.decide(100.0, busy=True) == ("wait", QUIET_S)
    assert liveness.decide(101.0, busy=True) == ("ping", ANSWER_S)
    assert liveness.decide(102.0, busy=True) == ("wait", 0.5)
    assert liveness.decide(102.5, busy=True)[0] == "dead"


def test_any_bytes_answer_the_question() -> None:
    """A server that sends events lives, even if the PING's own answer waits behind them."""
    liveness = Liveness(0.0)
    assert liveness.decide(1.0, busy=True)[0] == "ping"
    liveness.heard(2.4)
    assert liveness.decide(2.5, busy=True) == ("wait", 1.0 + PING_INTERVAL_S - 2.5)


def test_pings_keep_their_distance_whatever_happens() -> None:
    """Three PINGs closer than 5 s end the connection with GOAWAY: no order of events may bring that about."""
    rng = random.Random(3)
    for _ in range(50):
        liveness, now, pinged = Liveness(0.0), 0.0, -math.inf
        for _ in range(200):
            now += rng.choice((0.0, 0.1, 1.0, 3.0))
            what = rng.choice((liveness.heard, liveness.became_busy, None))
            if what is not None:
                what(now)
            verdict, _ = liveness.decide(now, busy=rng.random() < 0.8)
            if verdict == "ping":
                assert now - pinged >= PING_INTERVAL_S
                pinged = now
            if verdict == "dead":
                break
