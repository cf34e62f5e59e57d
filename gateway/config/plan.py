"""What a change of the configuration would do: two states side by side. Pure.

A *state* is flat: items, each of a kind and with a name, with facts as text. What differs between two states is the
plan; applied to the first it gives the second, and the plan between equal states is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

ItemKey: TypeAlias = tuple[str, str]
"""Kind and name."""
State: TypeAlias = Mapping[ItemKey, Mapping[str, str]]
Action: TypeAlias = Literal["add", "change", "remove"]


class Change(msgspec.Struct, frozen=True):
    """One item that comes, goes, or has other facts. `before` and `after` hold only the facts that differ.

    `restart`: a running gateway refuses it; it takes effect when the gateway is started again.
    """

    action: Action
    kind: str
    name: str
    before: dict[str, str]
    after: dict[str, str]
    restart: bool = False

    @property
    def key(self) -> ItemKey:
        return self.kind, self.name


NEEDS_RESTART = (
    "federation",
    "cluster",
    "state_dir",
    "etcd",
    "gateway.vip_range",
    "dns.listen",
    "status",
    "trust",
)
"""Keys of cluster.yaml (or whole sections) that a running gateway does not change."""


def needs_restart(key: ItemKey) -> bool:
    """Whether a running gateway refuses a change of this item."""
    kind, name = key
    if kind not in ("setting", "listener"):
        return False
    return any(name == fixed or name.startswith(f"{fixed}.") for fixed in NEEDS_RESTART)


def diff(old: State, new: State) -> tuple[Change, ...]:
    """What leads from `old` to `new`, in the order of kinds and names."""
    changes: list[Change] = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        changes.append(_change(key, before, after))
    return tuple(changes)


def _change(key: ItemKey, before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> Change:
    restart = needs_restart(key)
    if before is None:
        return Change("add", *key, {}, dict(after or {}), restart)
    if after is None:
        return Change("remove", *key, dict(before), {}, restart)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return Change(
        "change",
        *key,
        {name: before[name] for name in names if name in before},
        {name: after[name] for name in names if name in after},
        restart,
    )


def apply(old: State, changes: Iterable[Change]) -> State:
    """`old` after these changes."""
    state = {key: dict(facts) for key, facts in old.items()}
    for change in changes:
        facts = state.pop(change.key, {})
        if change.action == "remove":
            continue
        kept = {name: value for name, value in facts.items() if name not in change.before}
        state[change.key] = {**kept, **change.after}
    return state
