"""Replacing a cluster's root without anybody losing sight of it: which step comes next, and what it waits for.

Pure. Source: RFC 4210 section 4.4 (root CA key update), SPIFFE Trust Domain and Bundle section 5.1 (publish a key
before it signs), and the decision in docs/adr/0004.

    steady ── rotate ──▶ prepared ── all acknowledged ──▶ active ── old SVIDs gone ──▶ steady
       │                    │                               │
       └──── revoke ────────┴───────────────────────────────┴──▶ replaced ── all signed anew ──▶ silenced ──▶ steady
                                                                                 (all acknowledged)
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

MAX_SKEW_S = 600.0
_MIN_SKEW_S = 2.0
READERS = "whoever reads the bundle by its URL"


class Stage(enum.StrEnum):
    """How far the replacement of the root is."""

    STEADY = "steady"
    """One root, one record key."""
    PREPARED = "prepared"
    """The next root and record key are in the bundle, and sign nothing."""
    ACTIVE = "active"
    """The new root and record key sign; the old ones are still in the bundle."""
    REPLACED = "replaced"
    """The new ones sign, the old root is revoked; the old record key is believed until everything is signed anew."""
    SILENCED = "silenced"
    """As `REPLACED`, without the old record key; the old root's last word is the link to the new one."""


class Step(enum.StrEnum):
    """What can be done to go on."""

    ACTIVATE = "activate"
    RETIRE = "retire"
    SILENCE = "silence"
    FINISH = "finish"


class Rotation(msgspec.Struct, frozen=True):
    """Where a cluster stands. `signing` names the generation of keys that signs, `other` the next one (prepared) or
    the one before (active, replaced, silenced); `since` is Unix seconds."""

    signing: str
    stage: Stage = Stage.STEADY
    since: float = 0.0
    other: str = ""
    forced: bool = False
    """Whether it goes on without waiting for acknowledgements."""
    longest_svid_s: float = 0.0
    """The longest life that an SVID was issued with since the last rotation."""


class Observed(msgspec.Struct, frozen=True):
    """What a step depends on: who has not acknowledged the current bundle (name to why), whether that bundle was
    written at all, and how many of our records are still signed with another key than the current one."""

    waiting_for: Mapping[str, str] = {}
    published: bool = True
    unsigned: int = 0
    readers_s: float = 0.0


class CannotRotate(Exception):
    """This is not the moment. The message says why, and what to do."""


NEXT_STEP: Mapping[Stage, Step | None] = {
    Stage.STEADY: None,
    Stage.PREPARED: Step.ACTIVATE,
    Stage.ACTIVE: Step.RETIRE,
    Stage.REPLACED: Step.SILENCE,
    Stage.SILENCED: Step.FINISH,
}


def svids_gone_at(rotation: Rotation) -> float:
    """When the last SVID under the old root has ended everywhere, in Unix seconds (stage `active`)."""
    life_s = rotation.longest_svid_s
    return rotation.since + life_s + max(_MIN_SKEW_S, min(life_s / 10, MAX_SKEW_S))


def due_step(rotation: Rotation, observed: Observed, now: float) -> Step | None:
    """The step to take now; None: nothing to do, or something is waited for. `now` is Unix seconds."""
    return None if why_waiting(rotation, observed, now) else NEXT_STEP[rotation.stage]


def why_waiting(rotation: Rotation, observed: Observed, now: float) -> tuple[str, ...]:
    """What the next step waits for, for people; empty: for nothing."""
    if rotation.stage is Stage.STEADY:
        return ()
    if not observed.published:
        return ("the bundle is not written to etcd yet",)
    match rotation.stage:
        case Stage.PREPARED | Stage.SILENCED:
            if rotation.forced:
                return ()
            laggards = (f"{name}: {why}" for name, why in sorted(observed.waiting_for.items()))
            return (*laggards, *_readers(rotation, observed, now))
        case Stage.ACTIVE:
            left_s = svids_gone_at(rotation) - now
            certificates = (f"certificates under the old root end in {left_s:.0f} s",) if left_s > 0 else ()
            return (*certificates, *_unsigned(observed))
        case _:
            return _unsigned(observed)


def _readers(rotation: Rotation, observed: Observed, now: float) -> tuple[str, ...]:
    """A revoked root is not waited with."""
    left_s = rotation.since + observed.readers_s - now
    return (f"{READERS} comes within {left_s:.0f} s",) if rotation.stage is Stage.PREPARED and left_s > 0 else ()


def _unsigned(observed: Observed) -> tuple[str, ...]:
    return (f"{observed.unsigned} of our records are signed with the old key still",) if observed.unsigned else ()


def prepare(rotation: Rotation, new: str, now: float, *, forced: bool) -> Rotation:
    """Begins with the generation `new`. Raises CannotRotate."""
    if rotation.stage is not Stage.STEADY:
        raise CannotRotate(f"a rotation is under way already ({rotation.stage}); see isthmus trust status")
    return msgspec.structs.replace(rotation, stage=Stage.PREPARED, since=now, other=new, forced=forced)


def force(rotation: Rotation) -> Rotation:
    """Waits for nobody's acknowledgement from here on. Raises CannotRotate."""
    if rotation.stage not in (Stage.PREPARED, Stage.SILENCED):
        raise CannotRotate(f"stage {rotation.stage} waits for no acknowledgement, so there is nothing to force")
    return msgspec.structs.replace(rotation, forced=True)


def take_step(rotation: Rotation, step: Step, now: float) -> Rotation:
    """The state after a step that was due."""
    if NEXT_STEP[rotation.stage] is not step:
        raise CannotRotate(f"{step} does not follow {rotation.stage}")
    match step:
        case Step.ACTIVATE:
            return msgspec.structs.replace(
                rotation, stage=Stage.ACTIVE, since=now, signing=rotation.other, other=rotation.signing, forced=False
            )
        case Step.SILENCE:
            return msgspec.structs.replace(rotation, stage=Stage.SILENCED, since=now)
        case _:
            return Rotation(signing=rotation.signing, since=now)


def revoke(rotation: Rotation, revoked: str, new: str, now: float) -> Rotation:
    """The state without the generation `revoked`: `new` takes its place where no other one can. Raises CannotRotate."""
    stage, signing, other = rotation.stage, rotation.signing, rotation.other
    if revoked == signing and stage is Stage.ACTIVE:
        # The old root is believed still, and its keys are here: it goes on signing as if nothing had begun.
        return Rotation(
            signing=other, since=now, longest_svid_s=rotation.longest_svid_s, stage=Stage.REPLACED, other=signing
        )
    if revoked == signing and stage in (Stage.STEADY, Stage.PREPARED):
        successor = other if stage is Stage.PREPARED else new
        return Rotation(signing=successor, since=now, stage=Stage.REPLACED, other=signing)
    if revoked == other and stage is Stage.PREPARED:
        return Rotation(signing=signing, since=now, longest_svid_s=rotation.longest_svid_s)
    if revoked == other and stage is Stage.ACTIVE:
        return msgspec.structs.replace(rotation, stage=Stage.REPLACED, since=now)
    if revoked == other:
        raise CannotRotate("that root is revoked already; peers are being told, see isthmus trust status")
    raise CannotRotate(
        f"the revocation of another root is under way ({stage}); wait until it is done, or isthmus trust rotate --force"
    )
