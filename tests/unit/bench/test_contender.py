"""Who is charged for what: CPU of the right processes, between two readings."""

from __future__ import annotations

import os

import pytest

from tests.bench.rig.contender import BenchError, Contender, spent

_NO_PROCESS = 2**22 + 1
"""Above the highest number that Linux gives."""


def contender(pid: int) -> Contender:
    return Contender("isthmus", "1", {}, lambda: {"east worker": pid})


def test_cpu_and_memory_come_from_proc() -> None:
    """This very process has used CPU and holds some memory."""
    (usage,) = contender(os.getpid()).usages().values()
    assert contender(os.getpid()).cpu_s()["east worker"] >= usage.cpu_s > 0
    assert usage.resident_bytes > 1_000_000


def test_a_process_that_has_ended_is_no_cheap_one() -> None:
    with pytest.raises(BenchError, match="east worker"):
        contender(_NO_PROCESS).cpu_s()


def test_spent_is_the_difference_by_role() -> None:
    assert spent({"east": 1.0, "west": 2.0}, {"east": 1.5, "west": 2.0}) == {"east": 0.5, "west": 0.0}


@pytest.mark.parametrize("after", [{"east": 0.1}, {"east": 2.0, "west": 0.0}])
def test_a_replaced_process_spoils_the_measurement(after: dict[str, float]) -> None:
    """A worker that was replaced begins at 0, and another set of processes can't be compared at all."""
    with pytest.raises(BenchError, match="replaced"):
        spent({"east": 1.0}, after)
