"""When a connection is held for nothing. Pure, but for what the kernel is told."""

from __future__ import annotations

import socket

import pytest

from gateway.transport.idle import HEAD_S, KEEP_ALIVE_S, Idleness, Verdict, keep_alive, prepare_accepted


def test_a_connection_that_is_used_stays() -> None:
    """However long its requests take, and also when each look happens to fall between two."""
    idleness = Idleness(0.0)
    for step in range(1, 100):
        now = step * KEEP_ALIVE_S
        assert idleness.look(now, requests=1, streams=1, mid_head=False) is Verdict.STAY
    for step in range(100, 200):
        now = step * KEEP_ALIVE_S
        assert idleness.look(now, requests=step, streams=0, mid_head=True) is Verdict.STAY


def test_one_that_is_not_used_is_idle() -> None:
    """From its last request on, or from the start when none came."""
    for requests in (0, 1):
        idleness = Idleness(0.0)
        assert idleness.look(1.0, requests=requests, streams=requests, mid_head=False) is Verdict.STAY
        since = float(requests)
        just_before = since + KEEP_ALIVE_S - 0.1
        assert idleness.look(just_before, requests=requests, streams=0, mid_head=False) is Verdict.STAY
        assert idleness.look(since + KEEP_ALIVE_S, requests=requests, streams=0, mid_head=False) is Verdict.IDLE


def test_a_head_that_trickles() -> None:
    """It has its time from when it was first seen, and bytes that keep coming do not prolong it."""
    idleness = Idleness(0.0)
    looks = [idleness.look(now, requests=0, streams=0, mid_head=True) for now in (5.0, 5.0 + HEAD_S / 2, 5.0 + HEAD_S)]
    assert looks == [Verdict.STAY, Verdict.STAY, Verdict.SLOW_HEAD]


def test_heads_that_are_whole_in_time() -> None:
    """Three looks that each find a part of a head are no slow head when there were requests between them, or none was
    begun in between."""
    idleness = Idleness(0.0)
    for now, requests in ((0.0, 0), (HEAD_S, 7), (2 * HEAD_S, 9)):
        assert idleness.look(now, requests=requests, streams=0, mid_head=True) is Verdict.STAY
    idleness = Idleness(0.0)
    for now, mid_head in ((0.0, True), (HEAD_S, False), (2 * HEAD_S, True)):
        assert idleness.look(now, requests=0, streams=0, mid_head=mid_head) is Verdict.STAY


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def test_the_kernel_probes_a_silent_client(pair: tuple[socket.socket, socket.socket]) -> None:
    """One that lost its power never says so."""
    client, server = pair
    with client, server:
        keep_alive(server)
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_what_is_accepted_has_its_listeners_options() -> None:
    """Also when it came before anybody accepted: a connection without them would be slow, and stay when it is dead."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        prepare_accepted(listener)
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
