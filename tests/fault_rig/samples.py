"""What a load has seen, request by request, and what follows from it. Pure. Times are seconds of the monotonic clock,
which all processes of a machine share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec


class LoadPlan(msgspec.Struct, frozen=True):
    """A load: so many clients, each with one connection that it keeps, each asking every `interval_ms`."""

    http: tuple[str, int]
    authority: str
    get_clients: int = 6
    post_clients: int = 1
    tcp: tuple[str, int] | None = None
    interval_ms: int = 50
    timeout_s: float = 10.0


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One request. `kind`: get, post or tcp (one line and its echo); `status` is 0 if there was no answer."""

    kind: str
    client: str
    began: float
    ended: float
    status: int
    served_by: str = ""
    problem: str = ""

    @property
    def good(self) -> bool:
        return self.status == 200

    @property
    def took_s(self) -> float:
        return self.ended - self.began

    @property
    def cluster(self) -> str:
        return self.served_by.partition(":")[0]


def next_due(due: float, interval_s: float, now: float) -> float:
    """When a client that asked at `due` asks again: whole intervals later, and not in the past.

    Clients that waited for the same outage had their answers at the same moment. If they went on from there they would
    ask at the same moment ever after, and be slower than before for no other reason.

    >>> next_due(10.0, 0.5, 10.1), next_due(10.0, 0.5, 12.1)
    (10.5, 12.5)
    """
    return due + interval_s * max(1, math.ceil((now - due) / interval_s))


class Account(msgspec.Struct, frozen=True):
    """A load's samples of one kind from some moment on."""

    sent: int
    failed: int
    problems: dict[str, int]
    by_server: dict[str, int]
    """Good answers by `served-by`."""
    by_cluster: dict[str, int]
    gap_s: float
    """The longest that a client waited for a good answer, from when it first asked: its failed tries included."""
    recovered_s: float
    """From that moment to the end of the last request that failed or was slow; 0 if there was none."""

    def __str__(self) -> str:
        return (
            f"{self.sent} sent, {self.failed} failed {self.problems or ''}, longest gap {self.gap_s * 1000:.0f} ms, "
            f"by {self.by_cluster}"
        )


def account(
    samples: Iterable[Sample],
    kind: str = "get",
    *,
    since: float = 0.0,
    until: float = float("inf"),
    slow_s: float = 0.1,
) -> Account:
    """What ended after `since` and began before `until`: also what was under way at `since`."""
    taken = [sample for sample in samples if sample.kind == kind and sample.ended >= since and sample.began < until]
    good = [sample for sample in taken if sample.good]
    bad = [sample for sample in taken if not sample.good or sample.took_s > slow_s]
    return Account(
        sent=len(taken),
        failed=len(taken) - len(good),
        problems=dict(Counter(sample.problem for sample in taken if not sample.good)),
        by_server=dict(Counter(sample.served_by for sample in good)),
        by_cluster=dict(Counter(sample.cluster for sample in good)),
        gap_s=longest_gap_s(taken),
        recovered_s=max((sample.ended for sample in bad), default=since) - since,
    )


def usual_s(samples: Iterable[Sample], kind: str = "get", *, until: float) -> float:
    """What nearly every good answer took (99 %) that ended before `until`. Raises ValueError if there was none."""
    took = sorted(sample.took_s for sample in samples if sample.kind == kind and sample.good and sample.ended < until)
    if not took:
        raise ValueError("there is no answer to compare with")
    return took[int(len(took) * 0.99)]


def outage_s(samples: Iterable[Sample], kind: str = "get", *, since: float, usual_s: float, slow_s: float) -> float:
    """From `since` to the end of the last request that an outage touched; 0 if it touched none.

    It touches a request that fails or takes over `slow_s`, whenever that is; and one that takes longer than `usual_s`
    as long as its client has had no answer as fast as usual since the fault, or since its last touched one of the first
    kind. Later ones that are merely slower than usual are a machine's noise.
    """
    well: set[str] = set()
    last = since
    for sample in sorted(samples, key=lambda sample: sample.ended):
        if sample.kind != kind or sample.ended < since:
            continue
        if not sample.good or sample.took_s > slow_s:
            last = sample.ended
            well.discard(sample.client)
        elif sample.took_s <= usual_s:
            well.add(sample.client)
        elif sample.client not in well:
            last = sample.ended
    return last - since


def longest_gap_s(samples: Sequence[Sample]) -> float:
    """The longest that one client waited for a good answer. A client that never got one waits until its last try."""
    longest = 0.0
    waiting_since: dict[str, float] = {}
    for sample in sorted(samples, key=lambda sample: sample.ended):
        began = waiting_since.setdefault(sample.client, sample.began)
        longest = max(longest, sample.ended - began)
        if sample.good:
            del waiting_since[sample.client]
    return longest
