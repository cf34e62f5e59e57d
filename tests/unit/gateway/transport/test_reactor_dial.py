"""Connections that the reactor opens."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest
import trio

from gateway.controller.loopback_ports import LOOPBACK
from gateway.transport import reactor_dial
from gateway.transport.dial import NoAnswerInTime
from gateway.transport.reactor import READ, Reactor
from gateway.transport.reactor_dial import place_of, start_dial
from gateway.transport.resolver import Place
from tests.gateway_ends import deaf_address, running_reactor, wait_until
from tests.ports import free_port

Result = socket.SocketType | OSError


async def test_an_address_that_listens() -> None:
    """The socket does not block, and small writes go out at once."""
    async with running_reactor() as (reactor, nursery):
        results: list[Result] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            start_dial(reactor, nursery, f"127.0.0.1:{listener.getsockname()[1]}", 5.0, results.append)
            await wait_until(lambda: results)
            assert isinstance(results[0], socket.SocketType)
            with closing(results[0]) as sock:
                assert not sock.getblocking()
                assert not os.get_blocking(sock.fileno())
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getpeername() == listener.getsockname()


async def test_one_that_refuses_is_told_of_later() -> None:
    """Who asks is not told before it knows that it has asked; and no descriptor is left."""
    host, port = LOOPBACK, free_port()
    async with running_reactor() as (reactor, nursery):
        before = os.listdir("/proc/self/fd")
        results: list[Result] = []
        start_dial(reactor, nursery, f"{host}:{port}", 5.0, results.append)
        assert results == []
        await wait_until(lambda: results)
        assert str(results[0]) == f"{host}:{port}: Connection refused"
        assert os.listdir("/proc/self/fd") == before


async def test_what_another_socket_of_that_number_was_ready_for_is_no_connection() -> None:
    """A socket that closes in a turn leaves its number to the next one that is opened, and the turn's list still says
    that this number is ready."""
    async with deaf_address() as address, trio.open_nursery() as nursery:
        reactor, results = Reactor(), list[Result]()
        first, first_far = socket.socketpair()
        second, second_far = socket.socketpair()
        number = second.fileno()

        def dial(flags: int) -> None:
            reactor.forget(number)
            second.close()
            start_dial(reactor, nursery, address, 0.01, results.append)

        with first, first_far, second_far:
            reactor.register(first.fileno(), READ, dial)
            reactor.register(number, READ, lambda flags: None)
            first_far.send(b"x")
            second_far.send(b"x")
            reactor.turn(0)
            assert number in reactor._handlers, "the new socket has that number"
        await wait_until(lambda: reactor.keep_deadlines() < 0)
        assert isinstance(results[0], NoAnswerInTime)


@pytest.mark.stand_in
async def test_each_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have one that leads nowhere; if none answers, all are named."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: list[Place] = [(socket.AF_INET, (LOOPBACK, free_port())), (socket.AF_INET, listener.getsockname())]

        async def resolved(address: str) -> list[Place]:
            return found

        monkeypatch.setattr(reactor_dial, "resolve", resolved)
        async with running_reactor() as (reactor, nursery):
            results: list[Result] = []
            start_dial(reactor, nursery, "gw.test:1", 5.0, results.append)
            await wait_until(lambda: results)
            assert isinstance(results[0], socket.SocketType)
            results[0].close()
            found.pop()
            start_dial(reactor, nursery, "gw.test:1", 5.0, results.append)
            await wait_until(lambda: len(results) == 2)
            assert str(results[1]).endswith("Connection refused")
            found.clear()
            start_dial(reactor, nursery, "gw.test:1", 5.0, results.append)
            await wait_until(lambda: len(results) == 3)
            assert str(results[2]) == "gw.test:1 has no address"


async def test_one_that_does_not_answer() -> None:
    """The wait is bounded, and the socket is closed."""
    async with deaf_address() as address, running_reactor() as (reactor, nursery):
        before = os.listdir("/proc/self/fd")
        results: list[Result] = []
        start_dial(reactor, nursery, address, 0.02, results.append)
        assert results == []
        await wait_until(lambda: results)
        assert isinstance(results[0], NoAnswerInTime)
        assert os.listdir("/proc/self/fd") == before


def test_what_needs_no_look_up() -> None:
    assert place_of("[::1]:5") == (socket.AF_INET6, ("::1", 5))
    assert place_of("payments.test:5") is None
    assert place_of("no address") is None
