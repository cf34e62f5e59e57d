"""One HTTP/2 connection that carries gRPC calls, on trio and h2.

`run` owns the transport with three tasks: one reads and feeds h2, one writes what h2 has to say, one asks a silent
server for a sign of life. Calls add no tasks: they put their frames into h2's buffer, wake the writer, and wait for
their stream. A call that is cancelled or times out resets its stream at once.

h2 applies a whole batch of frames before it returns the events: a stream, or with GOAWAY the connection, may be closed
for h2 while its earlier events are still being handled. What is sent from there on is refused with ProtocolError, and
has no reader any more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import msgspec
import trio
from h2.errors import ErrorCodes

from federation.etcd.errors import GrpcStatus, RpcError
from federation.etcd.framing import check_answer_head, encode_timeout, status_from_fields
from federation.etcd.grpc_stream import STREAM_WINDOW_BYTES, GrpcStream
from federation.etcd.liveness import Liveness

Metadata = Sequence[tuple[bytes, bytes]]

_CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
_READ_BYTES = 256 * 1024
_INITIAL_WINDOW_BYTES = 65_535  # RFC 9113 section 6.9.2
_RESET_STATUS: dict[int, int] = {
    ErrorCodes.CANCEL: GrpcStatus.CANCELLED,
    ErrorCodes.ENHANCE_YOUR_CALM: GrpcStatus.RESOURCE_EXHAUSTED,
}


class ConnectionStatistics(msgspec.Struct, frozen=True):
    """A connection's counters; `open_streams` is a gauge and returns to zero when no call is on its way."""

    open_streams: int
    calls: int
    pings: int


class GrpcConnection:
    """A connection to one server. It is usable while `run` runs and `closed_because` is empty.

    `ready` is set when the server's SETTINGS came (until then, a port that accepts may still be a frozen process), or
    when the connection has ended. Without `probing` a silent server is not asked for a sign of life.
    """

    def __init__(self, transport: trio.abc.Stream, *, authority: str, scheme: str, probing: bool = True) -> None:
        self.ready = trio.Event()
        self.closed_because = ""
        self.authority = authority
        self._transport = transport
        self._probing = probing
        self._base_fields: list[tuple[bytes, bytes]] = [
            (b":method", b"POST"),
            (b":scheme", scheme.encode()),
            (b":authority", authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"isthmus"),
        ]
        config = h2.config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, GrpcStream] = {}
        self._unreturned_bytes = 0
        self._calls = 0
        self._pings = 0
        self._wake_writer = trio.Event()
        self._wake_pinger = trio.Event()
        self._scope = trio.CancelScope()
        self._liveness = Liveness(trio.current_time())

    def statistics(self) -> ConnectionStatistics:
        # h2 counts a stream until both sides have ended it: what we forgot to reset shows up there.
        open_streams = max(len(self._streams), self._h2.open_outbound_streams)
        return ConnectionStatistics(open_streams, self._calls, self._pings)

    async def run(self) -> None:
        """Serves calls until the connection ends, for whatever reason (`closed_because`). Never raises for the peer."""
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 65_536,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _INITIAL_WINDOW_BYTES)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_loop)
                    if self._probing:
                        nursery.start_soon(self._ping_loop)
                    nursery.start_soon(self._read_loop)
        finally:
            self.close("the client closed the connection")
            await trio.aclose_forcefully(self._transport)

    def close(self, because: str) -> None:
        """Ends the connection and every call on it. The first reason stays."""
        if self.closed_because:
            return
        self.closed_because = because
        self.ready.set()
        for stream in self._streams.values():
            stream.finish(RpcError(GrpcStatus.UNAVAILABLE, because, lost=True))
        self._scope.cancel()

    async def unary(self, path: str, request: bytes, metadata: Metadata, timeout_s: float) -> bytes:
        """One request, one answer. Raises RpcError: DEADLINE_EXCEEDED after `timeout_s`, or what the server said."""
        with trio.move_on_after(timeout_s), self.open_stream(path, metadata, timeout_s) as stream:
            stream.send(request, end=True)
            answer = await stream.receive()
            if answer is None:
                raise RpcError(GrpcStatus.INTERNAL, "the call ended well but without an answer")
            # The status comes after the message: an answer counts only when the call went well.
            while await stream.receive() is not None:
                pass
            return answer
        raise RpcError(GrpcStatus.DEADLINE_EXCEEDED, f"no answer within {timeout_s:.1f} s", lost=True)

    @contextmanager
    def open_stream(self, path: str, metadata: Metadata, timeout_s: float = math.inf) -> Iterator[GrpcStream]:
        """An RPC of any kind. Leaving the block before it has ended cancels it (RST_STREAM)."""
        stream = self._begin(path, metadata, timeout_s)
        try:
            yield stream
        finally:
            del self._streams[stream.stream_id]
            if not self.closed_because and not (stream.sent_end and stream.peer_ended):
                self._reset(stream.stream_id)

    def _begin(self, path: str, metadata: Metadata, timeout_s: float) -> GrpcStream:
        if self.closed_because:
            raise RpcError(GrpcStatus.UNAVAILABLE, self.closed_because, unsent=True, lost=True)
        fields = [*self._base_fields, (b":path", path.encode()), *metadata]
        if timeout_s != math.inf:
            fields.append((b"grpc-timeout", encode_timeout(timeout_s)))
        fields.sort(key=lambda field: not field[0].startswith(b":"))
        try:
            stream_id = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream_id, fields)
        except h2.exceptions.TooManyStreamsError:
            raise RpcError(GrpcStatus.RESOURCE_EXHAUSTED, "the server allows no more streams", unsent=True) from None
        except h2.exceptions.NoAvailableStreamIDError:
            self.close("all stream numbers of the connection are used up")
            raise RpcError(GrpcStatus.UNAVAILABLE, self.closed_because, unsent=True, lost=True) from None
        if not self._streams:
            self._liveness.became_busy(trio.current_time())
            self._wake_pinger.set()
        stream = self._streams[stream_id] = GrpcStream(self, stream_id)
        self._calls += 1
        self._wake_writer.set()
        return stream

    def pump(self, stream: GrpcStream) -> None:
        """Gives h2 what the peer's windows let through of a stream's unsent bytes."""
        if self.closed_because or stream.ended or stream.sent_end:
            return
        try:
            while stream.unsent and self._send_part(stream):
                pass
        except h2.exceptions.ProtocolError:
            return  # The event that ends the stream follows.
        self._wake_writer.set()

    def _send_part(self, stream: GrpcStream) -> bool:
        window = self._h2.local_flow_control_window(stream.stream_id)
        size_bytes = min(len(stream.unsent), window, self._h2.max_outbound_frame_size)
        if size_bytes <= 0:
            return False
        last = stream.end_after_unsent and size_bytes == len(stream.unsent)
        self._h2.send_data(stream.stream_id, bytes(stream.unsent[:size_bytes]), end_stream=last)
        stream.sent_end = last
        del stream.unsent[:size_bytes]
        return True

    def return_window(self, stream: GrpcStream, size_bytes: int) -> None:
        """Lets the peer send `size_bytes` more on a stream."""
        if not self.closed_because:
            self._open_window(size_bytes, stream.stream_id)

    def _open_window(self, size_bytes: int, stream_id: int | None = None) -> None:
        try:
            self._h2.increment_flow_control_window(size_bytes, stream_id)
        except h2.exceptions.ProtocolError:
            return
        self._wake_writer.set()

    def _reset(self, stream_id: int) -> None:
        try:
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        except h2.exceptions.ProtocolError:
            return  # The server ended it first.
        self._wake_writer.set()

    async def _write_loop(self) -> None:
        while True:
            data = self._h2.data_to_send()
            if data:
                try:
                    await self._transport.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    self.close(f"the connection broke while sending: {error.__cause__ or error}")
                    return
            else:
                self._wake_writer = trio.Event()
                await self._wake_writer.wait()

    async def _read_loop(self) -> None:
        while not self.closed_because:
            try:
                data = await self._transport.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self.close(f"the connection broke: {error.__cause__ or error}")
                return
            if not data:
                self.close("the server closed the connection")
                return
            self._liveness.heard(trio.current_time())
            self._receive(bytes(data))

    def _receive(self, data: bytes) -> None:
        if not self.ready.is_set() and data.startswith(b"HTTP/"):
            # h2 would take it for a long frame and wait for the rest.
            self.close("what answers speaks HTTP/1, not gRPC; check scheme and port")
            return
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.close(f"what answers does not speak HTTP/2 as it should ({error}); check scheme and port")
            return
        for event in events:
            self._handle(event)
        # h2 answers PING and SETTINGS by itself.
        self._wake_writer.set()

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self._on_data(event)
            case h2.events.ResponseReceived():
                self._on_head(event)
            case h2.events.TrailersReceived():
                self._finish(event.stream_id, status_from_fields(event.headers))
            case h2.events.StreamEnded():
                # Only what ended without trailers is still open here.
                self._finish(event.stream_id, status_from_fields(()))
            case h2.events.StreamReset():
                self._on_reset(event)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                self.ready.set()
                for stream in self._streams.values():
                    self.pump(stream)
            case h2.events.ConnectionTerminated():
                self._on_goaway(event)
            case _:
                pass

    def _on_data(self, event: h2.events.DataReceived) -> None:
        counted_bytes = event.flow_controlled_length or 0
        # The connection's window is given back whoever reads: a slow reader must hold up its own stream only.
        self._unreturned_bytes += counted_bytes
        if self._unreturned_bytes >= _CONNECTION_WINDOW_BYTES // 2:
            self._open_window(self._unreturned_bytes)
            self._unreturned_bytes = 0
        stream = self._streams.get(event.stream_id)
        if stream is not None and event.data is not None:
            stream.feed(event.data, counted_bytes)

    def _on_head(self, event: h2.events.ResponseReceived) -> None:
        error = check_answer_head(event.headers)
        if error is not None:
            self._finish(event.stream_id, error, by_peer=event.stream_ended is not None)
        elif event.stream_ended is not None:
            # "Trailers-Only": an answer that is nothing but a status.
            self._finish(event.stream_id, status_from_fields(event.headers))

    def _on_reset(self, event: h2.events.StreamReset) -> None:
        code = event.error_code
        unsent = code == ErrorCodes.REFUSED_STREAM
        status = _RESET_STATUS.get(code or 0, GrpcStatus.UNAVAILABLE)
        self._finish(
            event.stream_id, RpcError(status, f"the server reset the stream ({code!r})", unsent=unsent, lost=True)
        )

    def _on_goaway(self, event: h2.events.ConnectionTerminated) -> None:
        # h2 ends a connection with its first GOAWAY. What the server has provably not seen can be sent elsewhere.
        words = (event.additional_data or b"").decode(errors="replace")
        because = f"the server ended the connection (GOAWAY{f': {words}' if words else ''})"
        last_id = event.last_stream_id if event.last_stream_id is not None else 0
        for stream in self._streams.values():
            if stream.stream_id > last_id:
                stream.finish(RpcError(GrpcStatus.UNAVAILABLE, because, unsent=True, lost=True))
        self.close(because)

    def _finish(self, stream_id: int, error: RpcError | None, *, by_peer: bool = True) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.peer_ended |= by_peer
            stream.finish(error)

    async def _ping_loop(self) -> None:
        while True:
            self._wake_pinger = trio.Event()
            verdict, wait_s = self._liveness.decide(trio.current_time(), busy=bool(self._streams))
            if verdict == "dead":
                self.close("the server does not answer PING: it is frozen, or the network between is broken")
                return
            if verdict == "ping":
                self._pings += 1
                self._h2.ping(self._pings.to_bytes(8, "big"))
                self._wake_writer.set()
            with trio.move_on_after(wait_s):
                await self._wake_pinger.wait()
