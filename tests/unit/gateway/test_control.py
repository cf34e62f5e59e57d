"""What the controller and its workers say to each other, over real socket pairs."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
import trio
import trio.testing

from discovery.model import Locality, Port, Protocol, ServiceName
from gateway.control import (
    DESCRIPTORS_PER_MESSAGE,
    MESSAGE_LIMIT_BYTES,
    Certificate,
    ChannelClosed,
    ControlChannel,
    Drain,
    Explain,
    Explained,
    Hello,
    Listen,
    ListenerSpec,
    Message,
    Report,
    SigningRequest,
    Tunnel,
    Unlisten,
    listen_messages,
)
from gateway.failover.events import Cause, EventKind, FailoverEvent
from gateway.failover.explanation import EjectionExplanation, Explanation, GroupExplanation
from gateway.snapshot import LocalResource, PeerResource, ServiceResource, Update

MESSAGES: list[Message] = [
    Update(
        [
            ServiceResource(ServiceName("shop", "pay"), "127.80.0.1", (Port("http", 80, Protocol.HTTP),)),
            PeerResource("west", "west.test", (b"\x30\x82",)),
            LocalResource("acme", "east", Locality("us", "a"), "east.test"),
        ],
        removals=["service/shop/gone"],
        reset=True,
    ),
    Listen([]),
    Unlisten(["vip/shop/pay/http"]),
    Certificate([b"leaf", b"intermediate"]),
    Certificate([b"leaf"], b"a key"),
    Drain(1.5),
    Hello("w1-0", 4711, "0.1.0"),
    SigningRequest(b"csr"),
    Report(
        [Tunnel("west", "g1", ready=2, wanted=2)],
        {"isthmus_requests": {"local|shop/pay": 3.0}},
        {"shop/pay": [1.0]},
        events=[FailoverEvent(1.5, "shop/pay", EventKind.EJECTED, "west", Cause.SERVER_ERRORS, {"in_a_row": 5.0})],
    ),
    Explain(7, "shop/pay", "http", "west"),
    Explained(7),
    Explained(
        8,
        Explanation(
            "shop/pay",
            "http",
            "east",
            (GroupExplanation("west", "", 0, "same region", 2, 3, ejected=1, share=1.0),),
            (EjectionExplanation("west", 9.5, 1, Cause.SERVER_ERRORS, 1.0),),
        ),
    ),
]

Pair = tuple[ControlChannel, ControlChannel]


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    left, right = trio.socket.socketpair()
    ends = ControlChannel(left), ControlChannel(right)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
async def raw() -> AsyncIterator[tuple[socket.socket, ControlChannel]]:
    """A channel, and the other end as a plain socket that may say anything."""
    left, right = socket.socketpair()
    channel = ControlChannel(trio.socket.from_stdlib_socket(right))
    with left:
        yield left, channel
        channel.close()


def frame(body: bytes, descriptors: int = 0) -> bytes:
    return struct.pack("!IB", len(body), descriptors) + body


def encoded(message: Message, descriptors: int = 0) -> bytes:
    return frame(msgspec.msgpack.encode(message), descriptors)


async def read_all(channel: ControlChannel) -> None:
    while True:
        assert (await channel.receive())[1] == []


def sockets(count: int) -> list[tuple[ListenerSpec, socket.socket]]:
    return [(ListenerSpec(f"vip/{i}", "vip", f"127.80.0.1:{i}"), socket.socket()) for i in range(count)]


async def test_every_kind_of_message_arrives_as_it_was(pair: Pair) -> None:
    """Also several in one read, and both ways at once."""
    sender, receiver = pair
    for message in MESSAGES:
        await sender.send(message)
        await receiver.send(message)
    for message in MESSAGES:
        assert await receiver.receive() == (message, [])
        assert await sender.receive() == (message, [])


async def test_messages_arrive_in_any_pieces(raw: tuple[socket.socket, ControlChannel]) -> None:
    """A stream socket keeps no boundaries."""
    left, channel = raw
    stream = b"".join(encoded(message) for message in MESSAGES)
    rng = random.Random(7)
    cuts = sorted(rng.sample(range(1, len(stream)), 60))
    got: list[Message] = []

    async def read() -> None:
        for _ in MESSAGES:
            got.append((await channel.receive())[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            left.send(stream[start:end])
            await trio.testing.wait_all_tasks_blocked()
    assert got == MESSAGES


async def test_a_message_larger_than_the_socket_buffer(pair: Pair) -> None:
    """A first snapshot is megabytes: sending waits for the reader, and other senders wait their turn."""
    sender, receiver = pair
    large = Certificate([bytes(3_000_000)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, large)
        nursery.start_soon(sender.send, Drain(1.0))
        got = {type(message): message for message, _ in [await receiver.receive(), await receiver.receive()]}
    assert got == {Certificate: large, Drain: Drain(1.0)}


async def test_descriptors_are_sockets_at_the_other_end(pair: Pair) -> None:
    """They are copies that belong to the receiver, and are not handed on to its children."""
    sender, receiver = pair
    entries = sockets(3)
    for _, sock in entries:
        sock.bind(("127.0.0.1", 0))
    for message, given in listen_messages(entries):
        await sender.send(message, [sock.fileno() for sock in given])
    got, descriptors = await receiver.receive()
    assert got == Listen([spec for spec, _ in entries])
    for (_, sock), descriptor in zip(entries, descriptors, strict=True):
        assert not os.get_inheritable(descriptor)
        with sock, socket.socket(fileno=descriptor) as copy:
            assert copy.getsockname() == sock.getsockname()


async def test_more_descriptors_than_one_message_holds(pair: Pair) -> None:
    """A service has a virtual IP of its own, so there may be thousands; the kernel passes 253 at once."""
    sender, receiver = pair
    entries = sockets(2 * DESCRIPTORS_PER_MESSAGE + 30)
    names: list[str] = []

    async def read() -> None:
        while len(names) < len(entries):
            message, descriptors = await receiver.receive()
            assert isinstance(message, Listen)
            names.extend(spec.name for spec in message.listeners)
            for descriptor in descriptors:
                os.close(descriptor)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for message, given in listen_messages(entries):
            await sender.send(message, [sock.fileno() for sock in given])
    assert names == [spec.name for spec, _ in entries]
    for _, sock in entries:
        sock.close()


async def test_too_many_descriptors_are_the_callers_mistake(pair: Pair) -> None:
    """Said as such, instead of by a struct or a kernel error far below."""
    with pytest.raises(ValueError, match="listen_messages"):
        await pair[0].send(Drain(1.0), [0] * (DESCRIPTORS_PER_MESSAGE + 1))


NOT_MESSAGES = [
    pytest.param(frame(b""), id="empty"),
    pytest.param(frame(b"\xc1"), id="not msgpack"),
    pytest.param(frame(b"\x91" * 100_000), id="nested without end"),
    pytest.param(frame(b"\x81\xa4type\xa5alien"), id="unknown type"),
    pytest.param(frame(b"\x81\xa4type\xa2\xff\xfe"), id="not UTF-8"),
    pytest.param(frame(msgspec.msgpack.encode({"type": "hello", "worker_id": 1})), id="wrong field"),
    pytest.param(struct.pack("!IB", MESSAGE_LIMIT_BYTES + 1, 0), id="giant"),
    pytest.param(encoded(Drain(1.0), descriptors=1), id="announced descriptor"),
    pytest.param(encoded(Listen([ListenerSpec("a", "vip", "b:1")])), id="listener without descriptor"),
]


@pytest.mark.parametrize("said", NOT_MESSAGES)
async def test_what_is_no_message_ends_the_channel(raw: tuple[socket.socket, ControlChannel], said: bytes) -> None:
    """With the one exception that both sides expect."""
    left, channel = raw
    left.send(said)
    with pytest.raises(ChannelClosed):
        await channel.receive()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(encoded(Drain(1.0)), id="with a message that has none"),
        pytest.param(encoded(Listen([]), descriptors=2), id="announced"),
        pytest.param(frame(b"\xc1", 2), id="with garbage"),
        pytest.param(encoded(Listen([ListenerSpec("a", "vip", "b:1")] * 3), descriptors=3), id="too few"),
        pytest.param(struct.pack("!IB", 100, 2), id="with half a message"),
    ],
)
async def test_descriptors_that_nobody_takes_are_closed(said: bytes) -> None:
    """A peer that passes descriptors cannot use ours up."""
    before = open_descriptors()
    left, right = socket.socketpair()
    channel = ControlChannel(trio.socket.from_stdlib_socket(right))
    with left, socket.socket() as passed:
        socket.send_fds(left, [said], [passed.fileno(), passed.fileno()])
    with pytest.raises(ChannelClosed):
        await read_all(channel)
    channel.close()
    assert open_descriptors() == before


async def test_a_malformed_message_after_good_ones(raw: tuple[socket.socket, ControlChannel]) -> None:
    """What came before it counts."""
    left, channel = raw
    left.send(encoded(Drain(1.0)) + frame(b"\xc1"))
    assert await channel.receive() == (Drain(1.0), [])
    with pytest.raises(ChannelClosed):
        await channel.receive()


async def test_the_other_side_goes(pair: Pair) -> None:
    """Receiving and sending both say it, and nothing else is raised."""
    sender, receiver = pair
    await sender.send(Drain(1.0))
    sender.close()
    assert await receiver.receive() == (Drain(1.0), [])
    with pytest.raises(ChannelClosed):
        await receiver.receive()
    with pytest.raises(ChannelClosed):
        await receiver.send(Drain(1.0))
    with pytest.raises(ChannelClosed):
        await sender.send(Drain(1.0))


async def test_closing_ends_a_receive_that_waits(pair: Pair) -> None:
    """Otherwise the controller's task for a worker would stay."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(ChannelClosed):
                await pair[0].receive()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        pair[0].close()


async def test_the_kernel_says_who_is_there(pair: Pair) -> None:
    """A worker's own word is not enough: the controller may kill that process."""
    assert pair[0].peer_pid == os.getpid()


def test_no_sockets_make_no_message() -> None:
    """A worker that serves nothing yet has nothing to show."""
    empty: Sequence[tuple[ListenerSpec, socket.socket]] = []
    assert list(listen_messages(empty)) == []


def test_a_key_is_not_shown() -> None:
    """A Workload API's keys go over this channel: no log line may repeat one."""
    assert "secret" not in repr(Certificate([b"leaf"], b"secret"))
