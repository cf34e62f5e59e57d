"""Orders as files: each is obeyed once, answered once, and nothing in that directory stops the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.trust_keeping.orders import OrderFiles, TrustAnswer, TrustOrder

ORDER = TrustOrder("revoke-gateway", "gw-1")


@pytest.fixture
def orders(tmp_path: Path) -> OrderFiles:
    return OrderFiles(tmp_path)


def test_an_order_is_taken_once_and_answered_once(orders: OrderFiles, tmp_path: Path) -> None:
    """A gateway that dies between the two must not do it twice: a revocation or a rotation is not idempotent."""
    assert orders.take() == []
    id = orders.give(ORDER)
    assert (tmp_path / "orders").stat().st_mode & 0o777 == 0o700
    assert orders.read_answer(id) is None
    assert orders.take() == [(id, ORDER)]
    assert orders.take() == []
    orders.answer(id, TrustAnswer(True, "done"))
    assert orders.read_answer(id) == TrustAnswer(True, "done")
    assert orders.read_answer(id) is None


def test_an_order_can_be_taken_back_until_it_is_taken(orders: OrderFiles) -> None:
    """Whoever gave up waiting says which of the two it was."""
    id = orders.give(ORDER)
    assert orders.withdraw(id)
    assert orders.take() == []
    id = orders.give(ORDER)
    assert len(orders.take()) == 1
    assert not orders.withdraw(id)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"action":"burn"}', b'{"action":"rotate","subject":7}', b"[" * 5_000, b" " * 10_000, b"\xff\xfe"],
)
def test_what_is_no_order_is_thrown_away(orders: OrderFiles, tmp_path: Path, content: bytes) -> None:
    """Half written, of another version, or rubbish: the next order is obeyed all the same, and it is not read again."""
    id = orders.give(ORDER)
    (tmp_path / "orders" / "0.json").write_bytes(content)
    assert orders.take() == [(id, ORDER)]
    assert list((tmp_path / "orders").iterdir()) == []


def test_an_answer_that_cant_be_read_is_one(orders: OrderFiles, tmp_path: Path) -> None:
    """The command says so instead of waiting for another."""
    id = orders.give(ORDER)
    (tmp_path / "orders" / f"{id}.answer").write_bytes(b"{")
    answer = orders.read_answer(id)
    assert answer is not None
    assert not answer.done
    assert "can't be read" in answer.message


def test_answers_that_nobody_fetched_go(orders: OrderFiles, tmp_path: Path) -> None:
    orders.forget_answers()
    id = orders.give(ORDER)
    orders.answer(id, TrustAnswer(False, "no"))
    orders.forget_answers()
    assert orders.read_answer(id) is None
    assert orders.take() == [(id, ORDER)], "an order is no answer"


def test_a_disk_that_refuses_stops_nothing(tmp_path: Path) -> None:
    """The order was obeyed; that it can't be said is no reason to fail."""
    (tmp_path / "orders").write_bytes(b"in the way")
    files = OrderFiles(tmp_path)
    assert files.take() == []
    files.answer("x", TrustAnswer(True, ""))
    files.forget_answers()
    with pytest.raises(OSError, match="orders"):
        files.give(ORDER)
