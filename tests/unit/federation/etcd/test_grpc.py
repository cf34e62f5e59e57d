"""The gRPC connection against a server in memory, in virtual time."""

from __future__ import annotations

import itertools
import math

import h2.events
import h2.settings
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes

from federation.etcd.errors import GrpcStatus, RpcError
from federation.etcd.framing import MAX_MESSAGE_BYTES, encode_message
from federation.etcd.grpc import GrpcConnection
from federation.etcd.grpc_stream import BACKLOG_BYTES, STREAM_WINDOW_BYTES
from tests.unit.federation.etcd.grpc_peer import HEAD, OK, connect

PATH = "/etcdserverpb.KV/Range"


async def _error_of(connection: GrpcConnection, timeout_s: float = 5.0) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await connection.unary(PATH, b"question", (), timeout_s)
    return caught.value


async def test_a_unary_call_sends_what_grpc_asks_for() -> None:
    """Servers refuse a call without `te: trailers` or the content type, and time out by grpc-timeout."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:
        answers: list[bytes] = []

        async def ask() -> None:
            answers.append(await connection.unary(PATH, b"question", [(b"token", b"t")], 2.5))

        nursery.start_soon(ask)
        request = await peer.wait_for(h2.events.RequestReceived)
        fields = dict(request.headers)
        assert fields[b":method"] == b"POST"
        assert fields[b":path"] == PATH.encode()
        assert fields[b"te"] == b"trailers"
        assert fields[b"content-type"] == b"application/grpc"
        assert fields[b"grpc-timeout"] == b"2500m"
        assert fields[b"token"] == b"t"
        assert (await peer.wait_for(h2.events.DataReceived)).data == encode_message(b"question")
        await peer.answer(request.stream_id, b"answer")
        with trio.fail_after(10):
            while not answers:
                await trio.testing.wait_all_tasks_blocked()
        assert answers == [b"answer"]
        assert connection.statistics().open_streams == 0


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        ([*HEAD, (b"grpc-status", b"7"), (b"grpc-message", b"no%20way%21")], GrpcStatus.PERMISSION_DENIED, "no way!"),
        ([*HEAD, (b"grpc-status", b"seven")], GrpcStatus.UNKNOWN, "without a grpc-status"),
        ([(b":status", b"404"), (b"content-type", b"text/html")], GrpcStatus.UNIMPLEMENTED, "404"),
        ([(b":status", b"503")], GrpcStatus.UNAVAILABLE, "503"),
    ],
)
async def test_an_answer_of_a_head_only_is_an_error(head: list[tuple[bytes, bytes]], status: int, words: str) -> None:
    """A "Trailers-Only" refusal, and a web server or proxy in etcd's place, end the call with what they said."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:

        async def ask() -> None:
            error = await _error_of(connection)
            assert error.status == status
            assert words in error.message

        nursery.start_soon(ask)
        request = await peer.wait_for(h2.events.RequestReceived)
        peer.h2.send_headers(request.stream_id, head, end_stream=True)
        await peer.flush()


async def test_a_message_larger_than_every_window_comes_through() -> None:
    """A page of 5,000 keys passes gRPC's usual 4 MB limit, and both flow-control windows."""
    payload = bytes(3 * STREAM_WINDOW_BYTES)
    async with connect() as (connection, peer), trio.open_nursery() as nursery:

        async def serve() -> None:
            request = await peer.wait_for(h2.events.RequestReceived)
            peer.h2.send_headers(request.stream_id, HEAD)
            left = memoryview(encode_message(payload))
            while left:
                size = min(peer.h2.local_flow_control_window(request.stream_id), peer.h2.max_outbound_frame_size)
                if size == 0:
                    await peer.wait_for(h2.events.WindowUpdated)
                    continue
                peer.h2.send_data(request.stream_id, bytes(left[:size]))
                left = left[size:]
                await peer.flush()
            peer.h2.send_headers(request.stream_id, OK, end_stream=True)
            await peer.flush()

        nursery.start_soon(serve)
        assert await connection.unary(PATH, b"", (), math.inf) == payload


async def test_a_request_larger_than_the_servers_window_waits_for_it() -> None:
    """etcd's server starts with windows of 64 KiB; a value may have 1.5 MB."""
    payload = bytes(200_000)
    async with connect() as (connection, peer), trio.open_nursery() as nursery:

        async def serve() -> None:
            request = await peer.wait_for(h2.events.RequestReceived)
            got = b""
            while len(got) < len(payload) + 5:
                event = await peer.wait_for(h2.events.DataReceived)
                got += event.data or b""
                peer.h2.acknowledge_received_data(event.flow_controlled_length or 0, request.stream_id)
                await peer.flush()
            assert got == encode_message(payload)
            await peer.answer(request.stream_id, b"stored")

        nursery.start_soon(serve)
        assert await connection.unary(PATH, payload, (), 5) == b"stored"


async def test_a_slow_reader_holds_the_server_back_on_its_own_stream_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A watch that nobody iterates must not fill memory, nor stop the calls beside it."""
    message = bytes(16_000)
    async with connect() as (connection, peer):
        with connection.open_stream(PATH, ()) as stream:
            stream.send(b"watch", end=False)
            slow = await peer.wait_for(h2.events.RequestReceived)
            peer.h2.send_headers(slow.stream_id, HEAD)
            sent = 0
            while peer.h2.local_flow_control_window(slow.stream_id) > 17_000:
                peer.h2.send_data(slow.stream_id, encode_message(message))
                sent += len(message)
                await peer.flush()
                with trio.move_on_after(0.001):
                    await peer.wait_for(h2.events.WindowUpdated)
            assert BACKLOG_BYTES <= sent <= BACKLOG_BYTES + 2 * STREAM_WINDOW_BYTES

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.unary, PATH, b"", (), 5.0)
                quick = await peer.wait_for(h2.events.RequestReceived)
                await peer.answer(quick.stream_id, b"answer")

            for _ in range(sent // len(message)):
                assert await stream.receive() == message
            await peer.wait_for(h2.events.WindowUpdated)


async def test_a_declared_size_beyond_the_limit_is_refused_without_waiting_for_it() -> None:
    """A length prefix of 4 GB must not make us collect 4 GB."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:

        async def serve() -> None:
            request = await peer.wait_for(h2.events.RequestReceived)
            peer.h2.send_headers(request.stream_id, HEAD)
            peer.h2.send_data(request.stream_id, b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"))
            await peer.flush()
            assert (await peer.wait_for(h2.events.StreamReset)).error_code == ErrorCodes.CANCEL

        nursery.start_soon(serve)
        error = await _error_of(connection)
        assert error.status == GrpcStatus.RESOURCE_EXHAUSTED
        assert "smaller pages" in error.message


async def test_a_cancelled_call_is_reset_at_the_server(autojump_clock: trio.testing.MockClock) -> None:
    """The server must stop working for nobody, and our stream must be free at once."""
    async with connect() as (connection, peer):
        with trio.move_on_after(0.1):
            await connection.unary(PATH, b"question", (), 5.0)
        assert connection.statistics().open_streams == 0
        assert (await peer.wait_for(h2.events.StreamReset)).error_code == ErrorCodes.CANCEL


async def test_a_deadline_is_an_error_and_a_reset(autojump_clock: trio.testing.MockClock) -> None:
    """A call that times out says so; the answer that comes later disturbs nobody."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:

        async def answer_ping_only() -> None:
            request = await peer.wait_for(h2.events.RequestReceived)
            await peer.wait_for(h2.events.StreamReset)
            assert request.stream_id == 1

        nursery.start_soon(answer_ping_only)
        error = await _error_of(connection, timeout_s=3.0)
        assert error.status == GrpcStatus.DEADLINE_EXCEEDED
        assert connection.closed_because == ""


async def test_a_frozen_server_is_noticed_by_ping(autojump_clock: trio.testing.MockClock) -> None:
    """A server that is stopped keeps its connections open and says nothing: only an unanswered PING tells."""
    async with connect() as (connection, _):
        started = trio.current_time()
        error = await _error_of(connection, timeout_s=60)
        assert error.lost
        assert "does not answer PING" in error.message
        assert trio.current_time() - started == pytest.approx(2.5)
        assert connection.statistics().pings == 1


async def test_a_silent_watch_on_a_live_server_is_left_alone(autojump_clock: trio.testing.MockClock) -> None:
    """PINGs come 5 s apart or more (closer ones earn GOAWAY), and none while nothing is open."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:
        pinged_at: list[float] = []

        async def serve() -> None:
            while True:
                await peer.wait_for(h2.events.PingReceived)
                pinged_at.append(trio.current_time())

        nursery.start_soon(serve)
        await trio.sleep(100)
        assert pinged_at == []
        with connection.open_stream(PATH, ()):
            await trio.sleep(60)
        assert connection.closed_because == ""
        assert 8 <= len(pinged_at) <= 11
        assert all(later - earlier > 5.2 for earlier, later in itertools.pairwise(pinged_at))
        nursery.cancel_scope.cancel()


async def test_goaway_tells_which_calls_the_server_never_saw() -> None:
    """A call above GOAWAY's last stream may be sent elsewhere, even a write; one below may not."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:
        unsent: dict[int, bool] = {}

        async def ask(index: int) -> None:
            unsent[index] = (await _error_of(connection)).unsent

        for index in (1, 2):
            nursery.start_soon(ask, index)
            await trio.testing.wait_all_tasks_blocked()
        first = await peer.wait_for(h2.events.RequestReceived)
        peer.h2.close_connection(last_stream_id=first.stream_id)
        await peer.flush()
        while len(unsent) < 2:
            await trio.testing.wait_all_tasks_blocked()
        assert unsent == {1: False, 2: True}
        assert "GOAWAY" in connection.closed_because
        assert (await _error_of(connection)).unsent


async def test_an_answer_in_the_same_bytes_as_goaway_counts() -> None:
    """A server that shuts down answers what it has and says goodbye in one breath; h2 is closed by then."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:

        async def ask() -> None:
            assert await connection.unary(PATH, b"", (), 5.0) == b"answer"

        nursery.start_soon(ask)
        request = await peer.wait_for(h2.events.RequestReceived)
        peer.h2.send_headers(request.stream_id, HEAD)
        peer.h2.send_data(request.stream_id, encode_message(b"answer"))
        peer.h2.send_headers(request.stream_id, OK, end_stream=True)
        peer.h2.close_connection()
        await peer.flush()


async def test_a_reset_stream_is_an_error_of_that_call_only() -> None:
    """REFUSED_STREAM is a promise that nothing was done (RFC 9113 section 8.7)."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:

        async def ask() -> None:
            error = await _error_of(connection)
            assert error.unsent

        nursery.start_soon(ask)
        request = await peer.wait_for(h2.events.RequestReceived)
        peer.h2.reset_stream(request.stream_id, ErrorCodes.REFUSED_STREAM)
        await peer.flush()
        nursery.start_soon(connection.unary, PATH, b"", (), 5.0)
        second = await peer.wait_for(h2.events.RequestReceived)
        await peer.answer(second.stream_id, b"fine")


async def test_a_server_that_allows_no_more_streams_is_an_error_not_a_wait() -> None:
    """A proxy may limit streams; whoever asks for more is told, and what runs goes on."""
    async with connect() as (connection, peer):
        peer.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        with connection.open_stream(PATH, ()):
            error = await _error_of(connection)
            assert error.status == GrpcStatus.RESOURCE_EXHAUSTED
            assert error.unsent
        assert connection.closed_because == ""


async def test_a_closed_connection_ends_every_call() -> None:
    """Without that, calls on a dead connection would wait for their deadline."""
    async with connect() as (connection, peer), trio.open_nursery() as nursery:

        async def ask() -> None:
            assert (await _error_of(connection)).lost

        nursery.start_soon(ask)
        await peer.wait_for(h2.events.RequestReceived)
        await peer.stream.aclose()
    assert connection.closed_because == "the server closed the connection"


@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.", bytes(64)],
    ids=["http1", "zeros"],
)
async def test_what_is_not_http2_ends_the_connection_with_a_reason(garbage: bytes) -> None:
    """An endpoint that is a web server, or speaks TLS, must be told apart from one that is slow."""
    client_side, server_side = trio.testing.memory_stream_pair()
    connection = GrpcConnection(client_side, authority="etcd.test:2379", scheme="http")
    await server_side.send_all(garbage)
    with trio.fail_after(10):
        await connection.run()
    assert "check scheme and port" in connection.closed_because
    assert (await _error_of(connection)).unsent
