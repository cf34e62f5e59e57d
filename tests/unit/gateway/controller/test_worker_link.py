"""What is still to be told a worker: the last state of each thing, and nothing that is stale by then."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from discovery.model import Locality, ServiceName
from gateway.control import ControlChannel, Hello, Listen, ListenerSpec, Unlisten
from gateway.controller.worker_link import UPSERTS_PER_UPDATE, WorkerLink
from gateway.routing import RouteTable
from gateway.snapshot import LocalResource, Resource, ServiceResource, Update

Ends = tuple[WorkerLink, ControlChannel]


def service(number: int, vip: str = "") -> ServiceResource:
    return ServiceResource(ServiceName("shop", f"s{number}"), vip, ())


def entry(name: str) -> tuple[ListenerSpec, socket.socket]:
    return ListenerSpec(name, "vip", "127.80.0.1:1"), socket.socket()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    left, right = trio.socket.socketpair()
    controller, worker = ControlChannel(left), ControlChannel(right)
    yield WorkerLink(controller, Hello("w1-0", 1, "0.1.0")), worker
    controller.close()
    worker.close()


async def test_the_process_is_the_kernels_word(ends: Ends) -> None:
    """A worker that says another's number would have that one killed."""
    assert ends[0].pid == os.getpid()


async def test_a_new_worker_gets_all_at_once(ends: Ends) -> None:
    """In parts, the last of which says that there is no more: what none of them names is gone."""
    link, worker = ends
    everything: dict[str, Resource] = {f"service/shop/s{i}": service(i) for i in range(UPSERTS_PER_UPDATE + 5)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_forever)
        link.tell_all(everything)
        resources = list(everything.values())
        assert (await worker.receive())[0] == Update(resources[:UPSERTS_PER_UPDATE], reset=True, more=True)
        assert (await worker.receive())[0] == Update(resources[UPSERTS_PER_UPDATE:])
        link.tell_all({})
        assert (await worker.receive())[0] == Update(reset=True)
        nursery.cancel_scope.cancel()


async def test_changes_wait_as_their_last_state(ends: Ends) -> None:
    """A worker that is slow to read makes nobody hold more than the catalog for it."""
    link, worker = ends
    for round_number in range(1000):
        link.tell_changes({f"service/shop/s{i}": service(i, f"127.80.0.{round_number % 250}") for i in range(3)})
    link.tell_changes({"service/shop/s1": None})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_forever)
        last: list[Resource] = [service(i, "127.80.0.249") for i in (0, 2)]
        assert (await worker.receive())[0] == Update(last, ["service/shop/s1"])
        nursery.cancel_scope.cancel()


async def test_many_changes_are_several_messages(ends: Ends) -> None:
    """So that others get a word in, and requests their turn."""
    link, worker = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_forever)
        link.tell_changes({f"service/shop/s{i}": service(i) for i in range(UPSERTS_PER_UPDATE + 5)})
        sizes = []
        for _ in range(2):
            message, _ = await worker.receive()
            assert isinstance(message, Update)
            sizes.append(len(message.upserts))
        assert sizes == [UPSERTS_PER_UPDATE, 5]
        nursery.cancel_scope.cancel()


async def test_everything_replaces_what_waits(ends: Ends) -> None:
    """Its state is later than theirs."""
    link, worker = ends
    link.tell_changes({"service/shop/s9": None})
    link.tell_all({"service/shop/s1": service(1)})
    link.tell_changes({"service/shop/s2": service(2)})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_forever)
        assert (await worker.receive())[0] == Update([service(1), service(2)], reset=True)
        nursery.cancel_scope.cancel()


async def test_a_snapshot_in_stages(ends: Ends) -> None:
    """A controller that starts tells what it reads from disk while it reads on: nothing is missing before it says so,
    and what a worker had from the controller before it, and is not named until then, goes."""
    link, worker = ends
    routes = RouteTable()
    had = {f"service/shop/s{i}": service(i) for i in range(4)}
    [*routes.apply(Update([LocalResource("acme", "east", Locality(), "east.test"), *had.values()]))]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_forever)

        async def hear() -> Update:
            message, _ = await worker.receive()
            assert isinstance(message, Update)
            [*routes.apply(message)]
            return message

        link.tell_all({}, whole=False)
        assert await hear() == Update(reset=True, more=True)
        link.tell_changes({"service/shop/s1": service(1), "service/shop/s2": service(2)})
        assert await hear() == Update([service(1), service(2)], more=True)
        link.tell_changes({"service/shop/s2": None})
        assert await hear() == Update(removals=["service/shop/s2"], more=True)
        assert {one.key for one in routes.services} == {"service/shop/s0", "service/shop/s1", "service/shop/s3"}
        link.finish()
        assert await hear() == Update()
        assert [*routes.services] == [service(1)]
        link.tell_changes({"service/shop/s4": service(4)})
        assert await hear() == Update([service(4)])
        nursery.cancel_scope.cancel()


async def test_a_snapshot_that_ends_with_what_waits(ends: Ends) -> None:
    """The last part says that it is the last, so that no message has to come after it."""
    link, worker = ends
    link.tell_all({}, whole=False)
    link.tell_changes({"service/shop/s1": service(1), "service/shop/s2": None})
    link.finish()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_forever)
        assert (await worker.receive())[0] == Update([service(1)], ["service/shop/s2"], reset=True)
        nursery.cancel_scope.cancel()


async def test_a_socket_that_is_closed_meanwhile_is_left_out(ends: Ends) -> None:
    """The others of its message still arrive: they may be the mesh port's."""
    link, worker = ends
    entries = [entry(name) for name in ("mesh", "vip/gone", "http")]
    link.give(entries)
    link.tell(Unlisten(["vip/gone"]))
    entries[1][1].close()
    before = set(os.listdir("/proc/self/fd"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_forever)
        message, descriptors = await worker.receive()
        assert isinstance(message, Listen)
        assert [spec.name for spec in message.listeners] == ["mesh", "http"]
        assert (await worker.receive())[0] == Unlisten(["vip/gone"])
        for descriptor in descriptors:
            os.close(descriptor)
        await trio.testing.wait_all_tasks_blocked()
        assert set(os.listdir("/proc/self/fd")) <= before
        nursery.cancel_scope.cancel()
    for _, sock in entries:
        sock.close()


async def test_giving_a_socket_does_not_change_it(ends: Ends) -> None:
    """All processes that share a listening socket share whether it blocks."""
    link, worker = ends
    spec, sock = entry("mesh")
    sock.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_forever)
        link.give([(spec, sock)])
        _, descriptors = await worker.receive()
        assert not os.get_blocking(descriptors[0])
        os.close(descriptors[0])
        nursery.cancel_scope.cancel()
    sock.close()


def test_what_waits_is_shown() -> None:
    """In a debugger, where it is asked for."""

    async def main() -> str:
        left, right = trio.socket.socketpair()
        with left, right:
            link = WorkerLink(ControlChannel(left), Hello("w1-0", 1, "0.1.0"))
            link.tell_changes({"service/shop/s1": None})
            return repr(link)

    assert "w1-0" in trio.run(main)
