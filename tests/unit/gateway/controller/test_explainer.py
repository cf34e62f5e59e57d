"""Asking the workers: all at once, and not for longer than a person waits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from gateway.control import ControlChannel, Explain, Explained, Hello
from gateway.controller.explainer import DEADLINE_S, Explainer
from gateway.controller.worker_link import WorkerLink
from gateway.failover.explanation import Explanation

SAID = Explanation("shop/payments", "http", "east", ())


@contextmanager
def worker(name: str) -> Iterator[tuple[WorkerLink, ControlChannel]]:
    """A controller's link to a worker, and the worker's end."""
    ours, theirs = (trio.socket.from_stdlib_socket(sock) for sock in socket.socketpair())
    channels = ControlChannel(ours), ControlChannel(theirs)
    yield WorkerLink(channels[0], Hello(name, 1, "1")), channels[1]
    for channel in channels:
        channel.close()


async def answer(explainer: Explainer, link: WorkerLink, channel: ControlChannel, said: Explanation | None) -> None:
    """What a worker and the controller's reader do."""
    message, _ = await channel.receive()
    assert isinstance(message, Explain)
    assert (message.service, message.port, message.from_cluster) == ("shop/payments", "http", "west")
    explainer.explained(link, Explained(message.request_id + 1, said))
    explainer.explained(link, Explained(message.request_id, said))


async def test_all_workers_are_asked_and_heard() -> None:
    """None is an answer too; answers to other questions are not this one's."""
    with worker("w1") as (first, first_end), worker("w2") as (second, second_end):
        explainer = Explainer({"w1": first, "w2": second})
        async with trio.open_nursery() as nursery:
            for link, end, said in ((first, first_end, SAID), (second, second_end, None)):
                nursery.start_soon(link.send_forever)
                nursery.start_soon(answer, explainer, link, end, said)
            with trio.fail_after(10):
                answers = await explainer.ask("shop/payments", "http", "west")
            nursery.cancel_scope.cancel()
    assert answers.asked == ("w1", "w2")
    assert answers.told == {"w1": SAID, "w2": None}
    assert answers.explanations == {"w1": SAID}


async def test_a_worker_that_is_silent_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """One that is busy, or of a version that does not know the question; its late answer disturbs nothing."""
    with worker("w1") as (link, _):
        explainer = Explainer({"w1": link})
        began = trio.current_time()
        answers = await explainer.ask("shop/payments", "", "")
        assert trio.current_time() - began == pytest.approx(DEADLINE_S)
        assert (answers.asked, answers.told) == (("w1",), {})
        explainer.explained(link, Explained(1, SAID))
        assert answers.told == {}


async def test_without_workers_nobody_is_waited_for() -> None:
    """A gateway that has just started."""
    assert (await Explainer({}).ask("shop/payments", "", "")).asked == ()
