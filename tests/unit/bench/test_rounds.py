"""Fairness between contenders: who is measured when."""

from __future__ import annotations

from tests.bench.rig.contender import Contender
from tests.bench.rig.figures import Sample
from tests.bench.rig.rounds import alternate, joined


def test_contenders_take_turns_and_change_who_begins() -> None:
    """Whoever always came first would meet another machine than the others: warmer, or busier."""
    order = []

    def sample(contender: Contender) -> Sample:
        order.append(contender.name)
        return Sample({"number": len(order)})

    measured = alternate([Contender(name, "1", {}, dict) for name in "abc"], 3, sample)
    assert "".join(order) == "abcbcacab"
    assert {one.name: [sample.values["number"] for sample in one.samples] for one in measured} == {
        "a": [1, 6, 8],
        "b": [2, 4, 9],
        "c": [3, 5, 7],
    }


def test_pieces_of_a_round_are_joined() -> None:
    pieces = [Sample({"a": 1.0}, {"east": 0.5}), Sample({"b": 2.0}, {"east": 0.25, "west": 1.0})]
    assert joined(pieces) == Sample({"a": 1.0, "b": 2.0}, {"east": 0.75, "west": 1.0})
