"""Asks all workers why a service's requests go where they go."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import msgspec
import trio

from gateway.control import Explain, Explained
from gateway.controller.worker_link import WorkerLink
from gateway.failover.explanation import Explanation

DEADLINE_S = 1.0
"""For all workers together. One that is busy for longer is left out, and that is said."""
CONCURRENT = 8


class Answers(msgspec.Struct):
    """What workers said, by worker; None: it knows no such service or port, or that peer may not ask for it."""

    asked: tuple[str, ...]
    told: dict[str, Explanation | None] = {}

    @property
    def explanations(self) -> dict[str, Explanation]:
        return {worker: told for worker, told in self.told.items() if told is not None}


class Explainer:
    """`links` are the workers, by id, as they come and go."""

    def __init__(self, links: Mapping[str, WorkerLink]) -> None:
        self._links = links
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Answers, trio.Event]] = {}
        self._limiter = trio.CapacityLimiter(CONCURRENT)

    async def ask(self, service: str, port: str, from_cluster: str) -> Answers:
        """`service` is `<namespace>/<name>`; an empty port is the first, an empty cluster our own workloads."""
        async with self._limiter:
            request = Explain(next(self._ids), service, port, from_cluster)
            answers, all_told = Answers(tuple(sorted(self._links))), trio.Event()
            if not answers.asked:
                return answers
            self._waiting[request.request_id] = answers, all_told
            try:
                for worker in answers.asked:
                    self._links[worker].tell(request)
                with trio.move_on_after(DEADLINE_S):
                    await all_told.wait()
            finally:
                del self._waiting[request.request_id]
            return answers

    def explained(self, link: WorkerLink, message: Explained) -> None:
        """A worker's answer. What comes too late, or was not asked for, is passed over."""
        answers, all_told = self._waiting.get(message.request_id, (None, None))
        if answers is None or all_told is None or link.id not in answers.asked:
            return
        answers.told[link.id] = message.explanation
        if len(answers.told) == len(answers.asked):
            all_told.set()
