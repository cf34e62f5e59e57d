"""The one line that says where requests go, and why not where it would be nearer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.events.cause_text import describe_cause
from gateway.failover.explanation import GroupExplanation
from gateway.failover.spill import OVERPROVISIONING
from gateway.status.explain_merge import Merged

_ALL = 0.995
_SOME = 0.005


class FailedCheck(msgspec.Struct, frozen=True):
    """A local endpoint that is not used: what its check says, and for how long."""

    check: str
    reason: str
    for_s: float


class Circumstances(msgspec.Struct, frozen=True):
    """What the controller knows besides: `now` is Unix seconds."""

    own_cluster: str
    now: float
    failed: tuple[FailedCheck, ...] = ()
    """Of the local endpoints that are not healthy."""
    silent: Mapping[str, str] = {}
    """Why a cluster's word is not fresh, like `stale for 45 s`, by cluster."""
    link_problems: Mapping[str, str] = {}
    """Why no tunnel to a cluster is ready, by cluster."""


def summarize(merged: Merged, about: Circumstances) -> str:
    """`west gets 100 %: east has 0 of 3 healthy (tcp check refused since 12 s)`."""
    shares = cluster_shares(merged)
    if not any(shares.values()):
        problems = [problem for cluster in shares if (problem := cluster_problem(cluster, merged, about))]
        return "nothing gets it, requests are refused: " + ("; ".join(problems) or "nobody has it")
    gets = ", ".join(f"{cluster} gets {_percent(share)}" for cluster, share in shares.items() if share > _SOME)
    return f"{gets}: {_why(merged, shares, about)}"


def cluster_shares(merged: Merged) -> dict[str, float]:
    """By cluster, the preferred first."""
    shares: dict[str, float] = {}
    for place in merged.places:
        shares[place.cluster] = shares.get(place.cluster, 0.0) + place.share
    return shares


def _why(merged: Merged, shares: Mapping[str, float], about: Circumstances) -> str:
    """The problems of what is as near as the last that gets something, or nearer; in panic, of all."""
    last = max(i for i, place in enumerate(merged.places) if place.share > _SOME)
    rank = merged.places[last].rank
    places = merged.places if merged.panic else [place for place in merged.places if place.rank <= rank]
    suspects = [c for c in dict.fromkeys(place.cluster for place in places) if merged.panic or shares[c] < _ALL]
    problems = [problem for cluster in suspects if (problem := cluster_problem(cluster, merged, about))]
    if merged.panic:
        problems.append("so little is healthy that health is disregarded")
    if problems:
        return "; ".join(problems)
    first = next(place for place in merged.places if place.share > _SOME)
    return ", ".join(
        [_why_first(first, merged, shares), *([f"by failover.services: {merged.policy}"] if merged.policy else [])]
    )


def _why_first(first: GroupExplanation, merged: Merged, shares: Mapping[str, float]) -> str:
    if shares[first.cluster] >= _ALL:
        return first.why
    if all(place.rank == first.rank for place in merged.places if place.share > _SOME):
        return "they share it"
    return f"max_share limits what {first.cluster} gets"


def cluster_problem(cluster: str, merged: Merged, about: Circumstances) -> str:
    """What keeps a cluster from taking all that it is preferred for; empty if nothing does."""
    groups = [place for place in merged.places if place.cluster == cluster]
    healthy, total = sum(group.healthy for group in groups), sum(group.total for group in groups)
    if cluster != about.own_cluster and not any(group.tunnels for group in groups):
        told = about.link_problems.get(cluster, "")
        return f"no tunnel to {cluster} is ready" + (f" ({told})" if told else "")
    if total and not healthy:
        return f"{cluster} has 0 of {total} healthy{_checks(cluster, about)}"
    if ejected := _ejections(cluster, groups, merged, about):
        return ejected
    if total and healthy * OVERPROVISIONING < total:
        return f"{cluster} has {healthy} of {total} healthy{_checks(cluster, about)}"
    if (reachable := min((group.reachable for group in groups), default=1.0)) * OVERPROVISIONING < 1.0:
        return f"only {_percent(reachable)} of the gateways of {cluster} answer"
    if cluster in about.silent:
        return f"what {cluster} said is {about.silent[cluster]}"
    if held_s := max((group.held_s for group in groups), default=0.0):
        return f"{cluster} keeps going and coming, and is held back for {held_s:.0f} s more"
    if any(group.damping < 1.0 for group in groups):
        return f"{cluster} has just come back and gets its share little by little"
    return ""


def _checks(cluster: str, about: Circumstances) -> str:
    if cluster != about.own_cluster:
        return f", says {cluster}"
    if not about.failed:
        return ""
    return f" ({describe_checks(about.failed)})"


def describe_checks(failed: Iterable[FailedCheck]) -> str:
    """`tcp check refused since 12 s`, the most frequent reasons first, each since it first came."""
    failed = tuple(failed)
    kinds = Counter((one.check, one.reason) for one in failed)
    told = []
    for (check, reason), _ in kinds.most_common(2):
        longest_s = max(one.for_s for one in failed if (one.check, one.reason) == (check, reason))
        told.append(f"{check} check {reason} since {longest_s:.0f} s" if check else reason)
    return ", ".join(told)


def _ejections(cluster: str, groups: Sequence[GroupExplanation], merged: Merged, about: Circumstances) -> str:
    if cluster != about.own_cluster:
        for one in merged.ejections:
            if one.ejection.where == cluster:
                left_s = max(0.0, one.ejection.until - about.now)
                return f"it is ejected in {cluster} for {left_s:.0f} s more ({describe_cause(one.ejection.cause)})"
        return ""
    ejected, healthy = sum(group.ejected for group in groups), sum(group.healthy for group in groups)
    if not ejected or (healthy - ejected) * OVERPROVISIONING >= sum(group.total for group in groups):
        return ""
    causes = {describe_cause(one.ejection.cause) for one in merged.ejections if ":" in one.ejection.where}
    return f"{ejected} of {healthy} healthy endpoints of {cluster} are ejected ({', '.join(sorted(causes))})"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
