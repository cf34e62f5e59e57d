"""The driver of one connection: a non-blocking socket on one side, a codec on the other.

The reactor says when the socket can be read; what was read becomes events, events become commands on this or another
connection's codec, and at the end of the turn every connection that has something to say is flushed once. There is no
task, lock or channel for a connection or a request.

What has kinds of its own is in `server_connection` and `client_connection`; backpressure is in `relay`.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from typing import Final

from gateway.codec.events import Event
from gateway.codec.interface import Codec, TunnelCodec
from gateway.codec.limits import ALL_BYTES, Lent
from gateway.transport.pace import Pace
from gateway.transport.reactor import LEAST_SHARE_BYTES, READ, READ_BYTES, WRITE, Reactor
from gateway.transport.relay import Relay, Relays
from gateway.transport.tls_socket import TlsSocket

# How long the rest of a failed request is read and thrown away, so that the refusal arrives before the reset does
# (RFC 9112 section 9.6).
LINGER_S: Final = 1.0
SHUTDOWN_RETRY_S: Final = 0.05

WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_GONE: Final = select.EPOLLERR | select.EPOLLHUP


class Connection:
    """What client and server connections have in common: reading, flushing, settling, closing."""

    def __init__(self, reactor: Reactor, sock: socket.SocketType | TlsSocket, codec: Codec) -> None:
        self.codec = codec
        self.sock = sock
        self.closed = False
        self.shared = False
        """Many requests depend on it: see `share`."""
        self.received_eof = False
        self.lost_to: OSError | None = None
        """Why reading failed, if it did: a reset, or a TLS alert."""
        self.last_active = reactor.now
        self.on_end: Callable[[], None] | None = None
        """Called once, when the connection is gone and its streams have been told."""
        self._reactor = reactor
        self._descriptor = sock.fileno()
        self._tls = sock if isinstance(sock, TlsSocket) else None
        self._plain = None if isinstance(sock, TlsSocket) else sock
        self._interest = 0
        self._out = b""
        self._pace: Pace | None = None
        self._tunnel_codec: TunnelCodec | None = None
        self._short_bytes = ALL_BYTES
        self._dirty = False
        self._paused = False
        self._emptied = True
        """Nothing was left to be read at the last look."""
        self._half_closed = False
        self._lingering = False
        self._hung_up = False
        self._ended = False
        self._relays = Relays()

    @property
    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return len(self._out)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "paused" if self._paused else "open"
        return f"<{type(self).__name__} {state}, {self.codec.open_streams} streams, {len(self._out)} bytes unsent>"

    def share(self, codec: TunnelCodec) -> None:
        """For a tunnel, whose codec this is, before `start`: many requests depend on it, so it never waits for others
        that are ready, and gives its socket little ahead of what the link takes."""
        self.shared = True
        if self._tls is not None:
            self._tunnel_codec, self._pace = codec, Pace()
            self._follow(self._pace, self._tls)

    # What a kind of connection adds.

    def _dispatch(self, event: Event) -> None:
        raise NotImplementedError

    def _end_seen(self) -> None:
        """It is closed, or its far end has ended it. Its streams are told after this."""

    def _end_streams(self) -> None:
        """The connection is gone: whatever it still carried is told."""
        raise NotImplementedError

    # Reading.

    def start(self) -> None:
        """Begins to read. The caller flushes the reactor, unless the reactor called it. Never raises."""
        try:
            self._handle(self.codec.resume())
            self._follow_interest()
            self._read_unseen()
        except Exception:
            self._reactor.unforeseen(self)

    def look(self) -> None:
        """Takes in what has come since the reactor looked: before it is used after a while, or let go of. The caller
        flushes the reactor, unless the reactor called it. Never raises."""
        if self._interest & READ:
            self._ready(READ)

    def _read_unseen(self) -> None:
        """Reads what TLS has and the socket will not tell of: what came with the end of the handshake, or the peer's
        end of its direction."""
        tls = self._tls
        if tls is not None and (tls.pending or tls.ended) and not self.received_eof and not self.closed:
            self._read()

    def _ready(self, flags: int) -> None:
        try:
            if flags & READ or (flags & _GONE and self._interest & READ):
                self._read()
            if flags & (WRITE | _GONE):
                self.touch()
        except Exception:
            self._reactor.unforeseen(self)

    def _read(self) -> None:
        codec = self.codec
        self.last_active = self._reactor.now
        left = self._reactor.share_bytes
        while True:
            size = READ_BYTES if left >= READ_BYTES else left if left > LEAST_SHARE_BYTES else LEAST_SHARE_BYTES
            data = self._receive(size)
            if data is None:
                return
            left -= size
            if not data:
                self._read_end()
                return
            if not self._lingering:  # Whoever was refused may say what it likes.
                events = codec.receive(data)
                # Noted before they are handled, as that may end the pause at once: what waits behind it is not
                # forgotten.
                self._paused = codec.paused
                self._handle(events)
                if self.closed:
                    return
                if codec.paused:
                    break
            if self._emptied:
                return
            if left <= 0 and not (self._tls is not None and self._tls.ended):
                break
        if not self._emptied:
            self._reactor.leave(self._descriptor)

    def _read_end(self) -> None:
        if self._lingering:
            self.abort()
        else:
            self.received_eof = True
            self._end_seen()
            self._handle(self.codec.receive_eof())

    def _receive(self, size: int) -> Lent | None:
        """What has come, up to `size`; nothing at the end, None if there is nothing yet, or the connection is lost."""
        plain, tls = self._plain, self._tls
        data: Lent
        try:
            if plain is not None:
                data = plain.recv(size)
                self._emptied = len(data) < size
            else:
                assert tls is not None
                view = self._reactor.buffer
                count = tls.recv_into(view if size == READ_BYTES else view[:size])
                data = view[:count]
                self._emptied = tls.emptied and not tls.ended
        except WOULD_BLOCK:
            self._emptied = True
            return None
        except OSError as error:
            self.lost_to = error
            self.abort()
            return None
        return data

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            self._dispatch(event)
        self.touch()

    # Sending.

    def touch(self) -> None:
        """Something was given to the codec: flush at the end of the turn."""
        if not self._dirty:
            self._dirty = True
            self._reactor.touch(self)

    def relay(self, stream_id: int, data: bytes, end_stream: bool, relay: Relay) -> None:
        """Sends body bytes that came from `relay`'s source."""
        self.codec.send_data(stream_id, data, end_stream)
        relay.owed += len(data)
        if not relay.queued:
            relay.queued = True
            self._relays.unsettled.append((stream_id, relay))
        self.touch()

    def flush(self) -> None:
        """Sends, settles, closes: what a turn has left to do on this connection."""
        self._dirty = False
        before = len(self._out)
        if not self.closed and self._send():
            # A full socket that took nothing since the last look has nothing new to settle.
            if self._relays.unsettled and (not self._out or len(self._out) != before):
                self._relays.settle(self.codec, len(self._out))
            if not self._out:
                self._end_if_done()
        if self.closed:
            self._end()
            return
        if self._paused:
            self._go_on()
        self._follow_interest()

    def _go_on(self) -> None:
        """Hands on what waited for a pause to end, if it has."""
        codec = self.codec
        while self._paused and not codec.paused:
            events = codec.resume()
            self._paused = codec.paused
            self._handle(events)
        if not self._paused:
            self._read_unseen()

    def _send(self) -> bool:
        """Gives the socket what it takes. False if the connection is lost."""
        pace = self._pace
        while True:
            # That of this piece: the next ones may be longer by what is seen while it is sent.
            left, short_bytes = self._out, self._short_bytes
            out = left or self.codec.data_to_send()
            if not out:
                return True
            try:
                sent = self.sock.send(out)
            except WOULD_BLOCK:
                sent = 0
            except OSError:
                self._hang_up()
                return False
            if pace is not None and len(out) >= short_bytes and pace.is_due(self._reactor.now):
                self._measure(pace)
            if sent == len(out):
                self._out = b""
                if sent < short_bytes and not left:
                    return True
                continue
            # After SSLWantWrite the very same bytes must be offered again, so they stay in `_out`.
            self._out = out[sent:]
            return True

    def _measure(self, pace: Pace) -> None:
        tls = self._tls
        if tls is not None and pace.measured(tls.taken()):
            self._follow(pace, tls)

    def _follow(self, pace: Pace, tls: TlsSocket) -> None:
        if self._tunnel_codec is not None:
            self._tunnel_codec.output_bytes = pace.piece_bytes
        self._short_bytes = pace.piece_bytes // 4
        tls.keep_unsent(pace.piece_bytes)

    def _hang_up(self) -> None:
        """The other side takes nothing any more. What it said before that is still read: it may be an answer that came
        before all of the request was sent, or the end of a tunnelled connection's data."""
        if not self._lingering and not self.received_eof:
            self._hung_up = True
            self._read()
        self.abort()

    def _follow_interest(self) -> None:
        """Tells the reactor what is waited for now."""
        self._paused = self._paused or self.codec.paused
        interest = WRITE if self._out else 0
        if not self._paused and (not self.received_eof or self._lingering):
            interest |= READ
        if interest == self._interest:
            return
        if not interest:
            # Not registered with nothing to wait for: a hang-up would be reported without end.
            self._reactor.unregister(self._descriptor)
        elif not self._interest:
            self._reactor.register(self._descriptor, interest, self._ready, shared=self.shared)
            if not self._emptied:
                # It paused with more to read, as bulk does.
                self._reactor.leave(self._descriptor)
        else:
            self._reactor.modify(self._descriptor, interest)
        self._interest = interest

    def forget(self, stream_id: int) -> None:
        """The stream has ended: nothing of it is waited for any more."""
        if self._relays.blocked:
            self._relays.forget(stream_id)

    # Ending.

    def _end_if_done(self) -> None:
        if self.codec.closing:
            if self.codec.failure is not None and not self.received_eof:
                self._linger()
            else:
                self.abort()
        elif self.codec.half_closed and not self._half_closed:
            self._half_closed = True
            self._shutdown_sending()

    def _linger(self) -> None:
        if not self._lingering:
            self._lingering = True
            self._shutdown_sending()
            self._reactor.call_at(self._reactor.now + LINGER_S, self.abort)

    def _shutdown_sending(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except WOULD_BLOCK:
            # TLS ends with bytes of its own, for which there is no room yet.
            self._half_closed = False
            self._reactor.call_at(self._reactor.now + SHUTDOWN_RETRY_S, self.touch)
        except OSError:
            self.abort()

    def abort(self) -> None:
        """Closes the socket at once. The streams are told at the end of the turn."""
        if self.closed:
            return
        self.closed = True
        self._reactor.forget(self._descriptor)
        self.sock.close()
        self._end_seen()
        self.touch()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._end_streams()
        self._relays.give_up()
        # Not called again, and not kept: whoever is called knows this connection, which would then be in a cycle that
        # keeps it, its codec and its socket until the next search for garbage.
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()
