"""Many listening sockets, one reactor."""

from __future__ import annotations

import errno
import resource
import socket
import subprocess
import sys

import pytest
import trio
import trio.testing

from gateway.worker import acceptor as acceptor_module
from gateway.worker.acceptor import ACCEPTS_PER_TURN, Acceptor
from tests.gateway_ends import running_reactor, wait_until


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


class Door:
    """What is called for each accepted connection."""

    def __init__(self) -> None:
        self.socks: list[socket.SocketType] = []
        self.clients: list[str] = []

    def __call__(self, sock: socket.SocketType, client: str) -> None:
        self.socks.append(sock)
        self.clients.append(client)

    def close(self) -> None:
        for sock in self.socks:
            sock.close()


async def test_many_listeners_take_no_task() -> None:
    """A service has a virtual IP of its own, so there may be thousands. Each connection comes to its own."""
    async with running_reactor() as (reactor, nursery):
        acceptor = Acceptor(reactor)
        tasks = len(nursery.child_tasks)
        doors = [Door() for _ in range(200)]
        listeners = [listening() for _ in doors]
        for listener, door in zip(listeners, doors, strict=True):
            acceptor.add(listener, door)
        assert len(nursery.child_tasks) == tasks
        clients = [socket.create_connection(listener.getsockname()) for listener in listeners]
        names = ["{}:{}".format(*client.getsockname()) for client in clients]
        # Somebody else's program may knock at any port: what counts is where ours arrived.
        await wait_until(lambda: all(name in door.clients for name, door in zip(names, doors, strict=True)))
        assert [door for door in doors if len({*door.clients} & {*names}) > 1] == []
        for client, door in zip(clients, doors, strict=True):
            client.close()
            door.close()
        for listener in listeners:
            acceptor.remove(listener)


async def test_an_accepted_socket_is_ready_to_be_driven() -> None:
    """It does not block, does not wait to fill a packet, and is probed by the kernel."""
    async with running_reactor() as (reactor, _):
        acceptor, door, listener = Acceptor(reactor), Door(), listening()
        acceptor.add(listener, door)
        with socket.create_connection(listener.getsockname()):
            await wait_until(lambda: door.socks)
        (sock,) = door.socks
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        door.close()
        acceptor.remove(listener)


async def test_more_than_are_taken_in_one_turn() -> None:
    """A burst on one socket leaves room for the others, and none of it is forgotten."""
    async with running_reactor() as (reactor, _):
        acceptor, door, listener = Acceptor(reactor), Door(), listening()
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3 * ACCEPTS_PER_TURN)]
        acceptor.add(listener, door)
        await wait_until(lambda: len(door.socks) == len(clients))
        for client in clients:
            client.close()
        door.close()
        acceptor.remove(listener)


async def test_a_removed_listener_is_closed_here_only() -> None:
    """Other processes share the socket: what waits in its queue is theirs now."""
    async with running_reactor() as (reactor, _):
        acceptor, door, listener = Acceptor(reactor), Door(), listening()
        with listener.dup() as shared:
            acceptor.add(listener, door)
            acceptor.remove(listener)
            assert listener.fileno() == -1
            acceptor.remove(listener)
            with socket.create_connection(shared.getsockname()):
                await trio.testing.wait_all_tasks_blocked()
                assert door.socks == []
                shared.settimeout(30)
                shared.accept()[0].close()


async def test_a_defect_in_taking_a_connection_costs_that_one(caplog: pytest.LogCaptureFixture) -> None:
    """The listening socket is everybody's."""

    class Broken(Door):
        def __call__(self, sock: socket.SocketType, client: str) -> None:
            super().__call__(sock, client)
            if len(self.socks) == 1:
                raise RuntimeError("a defect")

    async with running_reactor() as (reactor, _):
        acceptor, door, listener = Acceptor(reactor), Broken(), listening()
        acceptor.add(listener, door)
        with socket.create_connection(listener.getsockname()) as unlucky:
            unlucky.settimeout(0)
            await trio.lowlevel.wait_readable(unlucky)
            assert unlucky.recv(1) == b""
        with socket.create_connection(listener.getsockname()):
            await wait_until(lambda: len(door.socks) == 2)
        assert reactor.defects == 1
        assert "nobody foresaw" in caplog.text
        door.close()
        acceptor.remove(listener)


class Exhausted:
    """A listening socket for which the process has no descriptor left, for a while."""

    def __init__(self, listener: socket.socket, times: int) -> None:
        self.tries = 0
        self._listener = listener
        self._times = times

    def _accept(self) -> tuple[int, tuple[str, int]]:
        self.tries += 1
        if self.tries <= self._times:
            raise OSError(errno.EMFILE, "Too many open files")
        sock, address = self._listener.accept()
        return sock.detach(), address

    def __getattr__(self, name: str) -> object:
        return getattr(self._listener, name)


@pytest.mark.stand_in
async def test_it_waits_when_no_descriptor_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The socket stays readable: without a pause the process would do nothing else. Then it goes on."""
    monkeypatch.setattr(acceptor_module, "EXHAUSTED_PAUSE_S", 0.02)
    async with running_reactor() as (reactor, _):
        acceptor, door, listener = Acceptor(reactor), Door(), listening()
        began = trio.current_time()
        exhausted = Exhausted(listener, 3)
        acceptor.add(exhausted, door)  # type: ignore[arg-type]
        with socket.create_connection(listener.getsockname()):
            await wait_until(lambda: door.socks)
        assert trio.current_time() - began >= 3 * 0.02
        assert "raise the limit of open files" in caplog.text
        door.close()
        acceptor.remove(exhausted)  # type: ignore[arg-type]


@pytest.mark.stand_in
async def test_a_listener_that_is_removed_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another socket's when the pause is over."""
    monkeypatch.setattr(acceptor_module, "EXHAUSTED_PAUSE_S", 0.01)
    async with running_reactor() as (reactor, _):
        acceptor, door, listener = Acceptor(reactor), Door(), listening()
        exhausted = Exhausted(listener, 1)
        acceptor.add(exhausted, door)  # type: ignore[arg-type]
        with socket.create_connection(listener.getsockname()):
            await wait_until(lambda: exhausted.tries)
            acceptor.remove(exhausted)  # type: ignore[arg-type]
            with listening() as other:
                other_door = Door()
                acceptor.add(other, other_door)
                await trio.sleep(0.02)
                with socket.create_connection(other.getsockname()):
                    await wait_until(lambda: other_door.socks)
                assert door.socks == []
                other_door.close()
                acceptor.remove(other)


async def test_who_waits_at_a_socket_that_is_given_up_is_let_in() -> None:
    """A reload moves a listener: whoever came to the old address in time would else be reset."""
    async with running_reactor() as (reactor, _):
        acceptor, door, listener = Acceptor(reactor), Door(), listening()
        acceptor.add(listener, door)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(2 * ACCEPTS_PER_TURN + 1)]
        acceptor.remove(listener, last=True)
        assert len(door.socks) == len(clients)
        assert listener.fileno() == -1
        for client in clients:
            client.close()
        door.close()


_FEW_DESCRIPTORS = """
import resource, socket, trio
from gateway.worker.acceptor import Acceptor
from gateway.transport.reactor import Reactor

async def main():
    reactor, taken = Reactor(), []
    acceptor = Acceptor(reactor)
    listener = socket.create_server(("127.0.0.1", 0))
    clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
    used = max(client.fileno() for client in clients)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, used + 8))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        nursery.start_soon(reactor.keep_time)
        acceptor.add(listener, lambda sock, client: taken.append(sock))
        with trio.fail_after(10):
            while len(taken) < 5:
                await trio.sleep(0.01)
            await trio.sleep(0.1)
            assert len(taken) < 20, "the limit was not reached"
            seen = 0
            while seen < 20:
                seen += len(taken)
                while taken:
                    taken.pop().close()
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    print("all twenty were served")

trio.run(main)
"""


@pytest.mark.processes
def test_a_process_that_runs_out_of_descriptors_survives() -> None:
    """With a real limit, which the kernel enforces: those who wait are served as others end."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)
    done = subprocess.run(
        [sys.executable, "-c", _FEW_DESCRIPTORS], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "all twenty were served\n", done.stderr
