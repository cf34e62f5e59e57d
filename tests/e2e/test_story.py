"""The demo's story, each step a test of its own: what `make demo` shows is what the suite holds."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import pytest

from gateway.demo.lab import Lab, open_lab
from gateway.demo.story import STEPS
from gateway.demo.teller import CheckFailed, Teller

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def session_lab() -> Iterator[Lab]:
    """A lab of this file's own: in it a root can be replaced, which keeps every gateway busy."""
    with open_lab(random.Random(3), rotates=True) as lab:
        lab.start()
        yield lab


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_step(step: object, lab: Lab) -> None:
    """Every check of the step holds; a teller raises at the first that does not."""
    out = io.StringIO()
    teller = Teller(out)
    assert callable(step)
    try:
        step(lab, teller)
    except CheckFailed:
        pytest.fail(out.getvalue())
    assert teller.checks >= 3


def test_a_check_that_does_not_hold_fails_the_story() -> None:
    """The story can fail: a teller that let it pass would make every check worthless."""
    with pytest.raises(CheckFailed, match="west answers: nobody did"):
        Teller(io.StringIO()).check("west answers", False, "nobody did")
