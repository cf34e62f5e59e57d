"""The table of a root's replacement: what follows what, and what each step waits for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.rotation import (
    NEXT_STEP,
    READERS,
    CannotRotate,
    Observed,
    Rotation,
    Stage,
    Step,
    due_step,
    force,
    prepare,
    revoke,
    svids_gone_at,
    take_step,
    why_waiting,
)

STEADY = Rotation("old", longest_svid_s=3600.0)
PREPARED = prepare(STEADY, "new", 100.0, forced=False)
ACTIVE = take_step(PREPARED, Step.ACTIVATE, 200.0)
REPLACED = revoke(STEADY, "old", "new", 100.0)
SILENCED = take_step(REPLACED, Step.SILENCE, 101.0)
STATES = [STEADY, PREPARED, ACTIVE, REPLACED, SILENCED]
LAGGARD = Observed(waiting_for={"eu": "it is away"})


def test_a_rotation_goes_its_way() -> None:
    """Prepared until all have acknowledged, active until the last old SVID has ended, then one root again."""
    assert (PREPARED.stage, PREPARED.signing, PREPARED.other) == (Stage.PREPARED, "old", "new")
    assert due_step(PREPARED, LAGGARD, 1e9) is None
    assert why_waiting(PREPARED, LAGGARD, 1e9) == ("eu: it is away",)
    assert due_step(PREPARED, Observed(), 100.0) is Step.ACTIVATE
    assert (ACTIVE.stage, ACTIVE.signing, ACTIVE.other) == (Stage.ACTIVE, "new", "old")
    gone_at = svids_gone_at(ACTIVE)
    assert gone_at == 200.0 + 3600.0 + 360.0, "their whole life, and a tenth for clocks that differ"
    assert due_step(ACTIVE, Observed(), gone_at - 1) is None
    assert due_step(ACTIVE, Observed(unsigned=1), gone_at) is None, "records are signed with the old key still"
    assert due_step(ACTIVE, LAGGARD, gone_at) is Step.RETIRE, "who acknowledged the preparation can follow"
    assert take_step(ACTIVE, Step.RETIRE, gone_at) == Rotation("new", since=gone_at)


def test_who_reads_the_bundle_by_its_url_is_given_the_time_to_come() -> None:
    """They acknowledge nothing, and until they have come they refuse what the new root certifies."""
    readers = Observed(readers_s=600.0)
    assert due_step(PREPARED, readers, 699.0) is None
    assert why_waiting(PREPARED, readers, 690.0) == (f"{READERS} comes within 10 s",)
    assert due_step(PREPARED, readers, 700.0) is Step.ACTIVATE
    assert due_step(force(PREPARED), readers, 100.0) is Step.ACTIVATE
    assert due_step(SILENCED, readers, 101.0) is Step.FINISH, "a stolen root waits for nobody who can't say so"


def test_nothing_is_due_before_the_bundle_is_written() -> None:
    """Acknowledgements of a bundle that is not in etcd are those of another one."""
    for state in (PREPARED, ACTIVE, REPLACED, SILENCED):
        assert due_step(state, Observed(published=False), 1e9) is None


def test_force_waits_for_nobody() -> None:
    """It skips acknowledgements, never the life of certificates."""
    forced = force(PREPARED)
    assert due_step(forced, LAGGARD, 100.0) is Step.ACTIVATE
    after = take_step(forced, Step.ACTIVATE, 200.0)
    assert not after.forced
    with pytest.raises(CannotRotate, match="nothing to force"):
        force(after)


@pytest.mark.parametrize(
    ("state", "revoked", "signing", "stage", "other"),
    [
        (STEADY, "old", "newer", Stage.REPLACED, "old"),
        (PREPARED, "old", "new", Stage.REPLACED, "old"),
        (PREPARED, "new", "old", Stage.STEADY, ""),
        (ACTIVE, "old", "new", Stage.REPLACED, "old"),
        (ACTIVE, "new", "old", Stage.REPLACED, "new"),
    ],
    ids=["the only one", "while the next is known", "the next", "the one before", "the new one"],
)
def test_any_root_can_be_revoked(state: Rotation, revoked: str, signing: str, stage: Stage, other: str) -> None:
    """What is believed already takes its place where there is something, else a new one."""
    after = revoke(state, revoked, "newer", 300.0)
    assert (after.signing, after.stage, after.other) == (signing, stage, other)


def test_a_second_revocation_waits() -> None:
    """Peers have to follow the first one: only the old root vouches for the new one."""
    for state in (REPLACED, SILENCED):
        for root in ("old", "new"):
            with pytest.raises(CannotRotate):
                revoke(state, root, "newer", 300.0)


def test_one_rotation_at_a_time() -> None:
    for state in (PREPARED, ACTIVE, REPLACED, SILENCED):
        with pytest.raises(CannotRotate, match="under way"):
            prepare(state, "newer", 300.0, forced=False)


@given(st.sampled_from(STATES), st.sampled_from(Step), st.floats(0, 1e12), st.booleans(), st.integers(0, 3))
def test_no_state_escapes_the_table(state: Rotation, step: Step, now: float, published: bool, unsigned: int) -> None:
    """Whatever is seen, the only step that is due is the stage's own, and another one is refused."""
    observed = Observed(published=published, unsigned=unsigned)
    due = due_step(state, observed, now)
    assert due in (None, NEXT_STEP[state.stage])
    assert (due is None) == (bool(why_waiting(state, observed, now)) or state.stage is Stage.STEADY)
    if step is NEXT_STEP[state.stage]:
        assert take_step(state, step, now).stage in Stage
    else:
        with pytest.raises(CannotRotate):
            take_step(state, step, now)
