"""The log of refused places: counted once for each bad value, kept by name within bounds."""

from __future__ import annotations

from federation.errors import RefusalCode
from federation.refusals import MAX_REFUSALS, Refusal, RefusalLog


def refusal(path: str, code: RefusalCode = RefusalCode.NOT_A_RECORD) -> Refusal:
    return Refusal(path, code, "detail", 1.0)


def test_the_same_value_in_another_listing_is_no_news() -> None:
    """Lists are read again and again: counters must count attempts, not listings."""
    log = RefusalLog()
    assert log.add(refusal("a"), b"x", 1)
    assert not log.add(refusal("a"), b"x", 2)
    assert log.add(refusal("a"), b"y", 2)
    assert log.counts == {RefusalCode.NOT_A_RECORD: 2}
    log.clear_unseen(2)
    assert [entry.path for entry in log.current()] == ["a"]
    log.clear_unseen(3)
    assert log.current() == ()


def test_a_flood_is_counted_whole_and_kept_in_part() -> None:
    log = RefusalLog()
    for number in range(MAX_REFUSALS + 50):
        log.add(refusal(f"p{number}"), b"x", 1)
    assert len(log.current()) == MAX_REFUSALS
    assert log.current()[0].path == "p50"
    assert log.counts.total() == MAX_REFUSALS + 50
    log.clear("p50")
    assert log.current()[0].path == "p51"


def test_what_was_not_kept_is_still_refused() -> None:
    """Until a listing shows the rest: a place whose name was dropped for others must not pass for a good one."""
    log = RefusalLog()
    for number in range(MAX_REFUSALS + 1):
        log.add(refusal(f"p{number}"), b"x", 1)
    for entry in log.current():
        log.clear(entry.path)
    assert log
    log.begin_listing()
    assert not log
