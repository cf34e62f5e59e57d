"""What an exchange needs of the worker around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from gateway.codec.events import RequestHead, ResponseHead
from gateway.failover.outcome import Outcome
from gateway.failover.retry import Failure
from gateway.failover.target import Target
from gateway.request.carried_service import CarriedService
from gateway.request.exchange_watch import ExchangeWatch
from gateway.route import Route
from gateway.transport.deadlines import Clock

if TYPE_CHECKING:
    from gateway.request.attempt import Attempt
    from gateway.request.exchange import Exchange


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestPath(ABC):
    """Implemented by `request_path.WorkerRequestPath`."""

    clock: Clock
    watch: ExchangeWatch

    @abstractmethod
    def route(self, exchange: Exchange) -> Route | None: ...

    @abstractmethod
    def objection(self, exchange: Exchange, route: Route) -> tuple[str, str] | None:
        """Why a peer's request is not let in: the reason and words for it; None if it is."""

    @abstractmethod
    def service(self, route: Route) -> CarriedService: ...

    @abstractmethod
    def choose(self, exchange: Exchange, route: Route) -> Target | None: ...

    @abstractmethod
    def has_better(self, exchange: Exchange) -> bool:
        """Whether there is a target other than what was tried, and better than one that is silent."""

    @abstractmethod
    def is_hopeless(self, exchange: Exchange) -> bool:
        """For one that `has_better` says nothing of: whether all places are down or silent for so long that the request
        is better refused than left waiting."""

    @abstractmethod
    def outbound_head(self, attempt: Attempt) -> RequestHead: ...

    @abstractmethod
    def submit(self, attempt: Attempt) -> None:
        """Finds a connection for an attempt and calls its `attached`, `failed` or `overflowed`; now or later."""

    @abstractmethod
    def observed(self, attempt: Attempt, outcome: Outcome, latency_s: float) -> None:
        """Told once of each attempt that came to a verdict: the status that it ended with, or why it failed, and how
        long the head of the response, or the failure, took. An attempt that the client gave up before its upstream
        answered has none, nor has one that lost against a hedge."""

    @abstractmethod
    def is_doubted(self, attempt: Attempt) -> bool:
        """Whether the attempt's target failed so often that it is only being tried again, or should not be."""

    @abstractmethod
    def may_spend_retry(self, exchange: Exchange, failure: Failure | None) -> bool:
        """`failure`: of the attempt before; None: it is only late."""

    @abstractmethod
    def refusal(self, exchange: Exchange, status: int, reason: str, detail: str) -> tuple[ResponseHead, bytes]: ...

    @abstractmethod
    def retried(self, exchange: Exchange, cause: str) -> None: ...

    @abstractmethod
    def finished(self, exchange: Exchange) -> None: ...
