"""A plan is exact: nothing between equals, and applied to the old state it gives the new one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.plan import apply, diff

_TEXT = st.sampled_from(["", "a", "b", "value", "gateway.workers"])
_STATES = st.dictionaries(
    st.tuples(st.sampled_from(["setting", "peer", "access"]), _TEXT), st.dictionaries(_TEXT, _TEXT, max_size=3)
)


@given(_STATES)
def test_equal_states_have_an_empty_plan(state: dict[tuple[str, str], dict[str, str]]) -> None:
    """Also when they are different objects."""
    assert diff(state, {key: dict(facts) for key, facts in state.items()}) == ()


@given(_STATES, _STATES)
def test_applying_a_plan_gives_the_new_state(
    old: dict[tuple[str, str], dict[str, str]], new: dict[tuple[str, str], dict[str, str]]
) -> None:
    """What a plan leaves out would happen unseen."""
    changes = diff(old, new)
    assert apply(old, changes) == new
    assert bool(changes) == (old != new)
    assert len({change.key for change in changes}) == len(changes)


@given(_STATES, _STATES)
def test_the_way_back_is_the_mirror(
    old: dict[tuple[str, str], dict[str, str]], new: dict[tuple[str, str], dict[str, str]]
) -> None:
    """What one direction adds, the other removes."""
    mirrored = {"add": "remove", "remove": "add", "change": "change"}
    there = [(mirrored[change.action], change.key, change.after, change.before) for change in diff(old, new)]
    back = [(change.action, change.key, change.before, change.after) for change in diff(new, old)]
    assert there == back
