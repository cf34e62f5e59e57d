"""How many retries a worker can afford."""

from __future__ import annotations

from gateway.failover.retry_budget import RetryBudget


def test_a_quiet_worker_may_retry_a_few_times_a_second() -> None:
    budget = RetryBudget()
    assert [budget.take(now=100.0) for _ in range(4)] == [True, True, True, False]
    assert budget.take(now=100.4)
    assert not budget.take(now=100.5)


def test_a_busy_worker_retries_up_to_a_fifth_of_its_requests() -> None:
    budget = RetryBudget(active=50, retrying=9)
    assert all(budget.take(now=1.0) for _ in range(10))
    budget.retrying = 10
    assert [budget.take(now=1.0) for _ in range(4)] == [True, True, True, False]
