"""Connecting and shaking hands, on loopback."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.transport import dial as dial_module
from gateway.transport.dial import dial, handshake, resolve
from tests.gateway_ends import make_authority, make_identity, peer_of, shake_hands


async def test_a_connection() -> None:
    """It does not block, and small writes go out at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = await dial(f"127.0.0.1:{listener.getsockname()[1]}")
        with sock:
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getpeername() == listener.getsockname()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_ipv6() -> None:
    """In brackets, as everywhere."""
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        sock = await dial(f"[::1]:{listener.getsockname()[1]}")
        assert sock.family == socket.AF_INET6
        sock.close()


async def test_each_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have one that leads nowhere; if none answers, all are named."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = closed.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = [(socket.AF_INET, nowhere), (socket.AF_INET, listener.getsockname())]

        async def resolved(address: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
            return found

        monkeypatch.setattr(dial_module, "resolve", resolved)
        (await dial("gw.test:1")).close()
        found.pop()
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match=f"127.0.0.1:{nowhere[1]}: Connection refused"):
            await dial("gw.test:1")
        found.clear()
        with pytest.raises(OSError, match=r"gw\.test:1 has no address"):
            await dial("gw.test:1")
        assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    "address",
    [
        "",
        "west",
        "west:",
        "west:http",
        "west:65536",
        ":1",
        "::1:80",
        "a..b:1",
        "-" * 64 + ":1",
        "x" * 300 + ":1",
        "\0:1",
    ],
)
async def test_what_is_no_address_is_an_error_like_another(address: str) -> None:
    """A peer publishes its addresses, and an endpoint's may be a person's mistake: one exception to expect."""
    with pytest.raises(OSError, match="'"):
        await resolve(address)


async def test_a_cancelled_attempt_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many tries that time out, each would keep a descriptor."""

    async def never(sock: socket.socket) -> None:
        await trio.sleep_forever()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = os.listdir("/proc/self/fd")
        monkeypatch.setattr(trio.lowlevel, "wait_writable", never)
        with trio.move_on_after(0.01) as scope:
            await dial(f"127.0.0.1:{listener.getsockname()[1]}")
        assert scope.cancelled_caught
        assert os.listdir("/proc/self/fd") == before


def socks() -> tuple[socket.socket, socket.socket]:
    left, right = socket.socketpair()
    for sock in (left, right):
        sock.setblocking(False)
    return left, right


async def test_a_handshake_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    """As its deadline does."""
    west = make_authority(tmp_path, "west")
    context = make_identity(make_authority(tmp_path, "east"), peer_of(west)).server_context()
    before = os.listdir("/proc/self/fd")
    left, right = socks()
    with right, trio.move_on_after(0.01) as scope:
        await handshake(left, context, server=True)
    assert scope.cancelled_caught
    assert os.listdir("/proc/self/fd") == before


async def test_handshakes_take_turns(tmp_path: Path) -> None:
    """While another one has its turn this one says nothing; then it goes on, and what is cancelled in the queue leaves
    nothing behind."""
    east, west = make_authority(tmp_path, "east"), make_authority(tmp_path, "west")
    server = make_identity(east, peer_of(west)).server_context()
    client = make_identity(west, peer_of(east)).client_context("east")
    before = os.listdir("/proc/self/fd")
    turns = trio.Lock()
    left, right = socks()
    async with trio.open_nursery() as nursery:
        await turns.acquire()
        nursery.start_soon(shake_hands_and_close, left, server, turns)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(shake_hands_and_close, right, client, None)
        await trio.testing.wait_all_tasks_blocked()
        assert turns.statistics().tasks_waiting == 1
        turns.release()
    left, right = socks()
    await turns.acquire()
    with right:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake_hands_and_close, left, server, turns)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    turns.release()
    assert os.listdir("/proc/self/fd") == before


async def shake_hands_and_close(sock: socket.socket, context: ssl.SSLContext, turns: trio.Lock | None) -> None:
    (await handshake(sock, context, server=turns is not None, turns=turns)).close()


async def test_a_farewell_that_is_cancelled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of a handshake may fall into the time in which a refused client is told why."""
    monkeypatch.setattr(dial_module, "FAREWELL_S", 60.0)
    west = make_authority(tmp_path, "west")
    context = make_identity(make_authority(tmp_path, "east"), peer_of(west)).server_context()
    before = os.listdir("/proc/self/fd")
    left, right = socks()
    with right:
        right.send(b"this is no TLS, and long enough to be seen as such")
        with trio.move_on_after(0.05) as scope:
            await handshake(left, context, server=True)
        assert scope.cancelled_caught
    assert os.listdir("/proc/self/fd") == before


async def test_a_client_hears_why_it_is_refused(tmp_path: Path) -> None:
    """Its alert arrives although it had more to say: a reset would overtake it."""
    east, west, north = (make_authority(tmp_path, cluster) for cluster in ("east", "west", "north"))
    server = make_identity(east, peer_of(west)).server_context()
    client = make_identity(north, peer_of(east)).client_context("east")
    left, right = socks()
    heard: list[str] = []

    async def refuse() -> None:
        with pytest.raises(ssl.SSLError):
            await handshake(left, server, server=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        tls = await shake_hands(right, client, server=False)
        tls.send(bytes(10_000))
        with tls:
            while not heard:
                try:
                    tls.recv(1)
                except ssl.SSLWantReadError:
                    await trio.lowlevel.wait_readable(tls)
                except ssl.SSLError as error:
                    heard.append(error.reason or "")
    assert "ALERT" in heard[0]
