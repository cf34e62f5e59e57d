"""A load that runs in a process of its own, and its samples as they come."""

from __future__ import annotations

from collections.abc import Callable

from gateway.demo.waiting import seconds, wait_until
from tests.fault_rig.samples import Account, LoadPlan, Sample, account
from tests.fault_rig.sampling import Sampling

_ENOUGH = 30
"""Samples in a row that must agree before something counts as reached."""


class Load:
    """`with Load(plan) as load`: it runs until the block ends."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self._sampling = Sampling("tests.fault_rig.load_process", plan, Sample)

    def __enter__(self) -> Load:
        self._sampling.__enter__()
        try:
            self.wait(lambda samples: len(samples) >= _ENOUGH, "the load has begun")
        except BaseException:
            self._sampling.__exit__()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._sampling.__exit__(*raised)

    @property
    def samples(self) -> list[Sample]:
        return [*self._sampling.samples]

    def account(self, kind: str = "get", *, since: float = 0.0, until: float = float("inf")) -> Account:
        return account(self.samples, kind, since=since, until=until)

    def report(self, fault: str, since: float) -> Account:
        """Prints what each kind of client saw of a fault (`pytest -s`); returns what GETs did."""
        kinds = ["get", *(["post"] if self.plan.post_clients else []), *(["tcp"] if self.plan.tcp else [])]
        for kind in kinds:
            seen = self.account(kind, since=since)
            print(f"[{fault}] {kind}: {seen}; {seen.recovered_s * 1000:.0f} ms until all was well")
        return self.account(since=since)

    def wait(self, reached: Callable[[list[Sample]], object], what: str, timeout_s: float = 60.0) -> None:
        """Until the samples so far say so. Raises NotInTime."""
        wait_until(lambda: reached(self.samples), what, timeout_s=timeout_s)

    def wait_served_by(self, *clusters: str, timeout_s: float = 60.0) -> None:
        """Until the last GETs are all good and from these clusters."""

        def agreed(samples: list[Sample]) -> bool:
            last = [sample for sample in samples if sample.kind == "get"][-_ENOUGH:]
            return len(last) == _ENOUGH and all(sample.good and sample.cluster in clusters for sample in last)

        self.wait(agreed, f"all GETs are served by {' or '.join(clusters)}", timeout_s)

    def wait_more(self, number: int = 100, kind: str = "get") -> None:
        """Until so many more have been answered."""
        before = sum(sample.kind == kind for sample in self.samples)
        self.wait(lambda samples: sum(s.kind == kind for s in samples) >= before + number, f"{number} more samples")


def now() -> float:
    """The clock that samples are in."""
    return seconds()
