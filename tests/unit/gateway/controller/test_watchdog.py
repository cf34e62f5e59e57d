"""Who stands still is given up, and who only had no time is not."""

from __future__ import annotations

from gateway.controller.watchdog import PATIENCE_S, START_PATIENCE_S, TICK_S, Watchdog


def tick_until(watchdog: Watchdog, start: float, end: float, *, but: dict[str, float]) -> dict[str, float]:
    """Ticks as the controller does; every worker of `but` speaks until its time. When each was given up."""
    given_up: dict[str, float] = {}
    now = start
    while now <= end:
        for worker, until in but.items():
            if now <= until:
                watchdog.heard(worker, now)
        given_up |= dict.fromkeys(watchdog.tick(now), now)
        now += TICK_S
    return given_up


def test_a_worker_that_stands_still() -> None:
    """It is named once, soon after its patience has run out, and the others are not."""
    given_up = tick_until(Watchdog(), 0.0, 60.0, but={"frozen": 20.0, "well": 60.0})
    assert given_up.keys() == {"frozen"}
    assert PATIENCE_S < given_up["frozen"] - 20.0 <= PATIENCE_S + 2 * TICK_S


def test_one_that_was_never_heard_of_after_its_start() -> None:
    """Loading its program takes a worker long where everybody is busy: it is not killed for it, which would make them
    busier. For ever it is not waited for."""
    watchdog = Watchdog()
    watchdog.started("mute", 0.0)
    watchdog.started("gone", 0.0)
    watchdog.forget("gone")
    assert tick_until(watchdog, 0.0, START_PATIENCE_S, but={}) == {}
    assert tick_until(watchdog, START_PATIENCE_S + TICK_S, 2 * START_PATIENCE_S, but={}).keys() == {"mute"}


def test_a_machine_that_stood_still() -> None:
    """The controller was as late as its workers: nobody is to blame, however often and long it happens."""
    watchdog, now = Watchdog(), 0.0
    watchdog.heard("w", now)
    for pause_s in (3600.0, 14.0, 100.0, 5.0, 13.0):
        assert watchdog.tick(now) == []
        now += pause_s
    assert watchdog.tick(now) == []
    watchdog.heard("w", now)
    assert tick_until(watchdog, now, now + PATIENCE_S, but={}) == {}


def test_lateness_excuses_only_as_much() -> None:
    """Who is silent before and after a pause of the machine is given up all the same."""
    watchdog = Watchdog()
    watchdog.heard("w", 0.0)
    assert tick_until(watchdog, 0.0, 10.0, but={}) == {}
    given_up = tick_until(watchdog, 1000.0, 1020.0, but={})
    assert given_up.keys() == {"w"}
    assert given_up["w"] <= 1000.0 + PATIENCE_S
