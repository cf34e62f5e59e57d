"""Backpressure between two connections.

A `Relay` counts what one stream's body gave to another connection. The source's window is given back only when the
sink's codec has handed those bytes to its socket, so a slow reader stops the far sender and at most one window of each
stream is held here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.codec.interface import Codec

if TYPE_CHECKING:
    from gateway.transport.connection import Connection

# A stream whose sink holds more than this unsent is not given more window yet.
LOW_WATER_BYTES: Final = 32_768


class Relay:
    """One direction of one exchange's body, from the source's stream to a sink."""

    __slots__ = ("owed", "queued", "source", "source_stream")

    def __init__(self, source: Connection, source_stream: int) -> None:
        self.source = source
        self.source_stream = source_stream
        self.owed = 0
        self.queued = False

    def settle(self) -> None:
        """What was owed has been handed on, or is no longer wanted: the source may send as much again."""
        self.queued = False
        if self.owed:
            owed, self.owed = self.owed, 0
            self.source.codec.consumed(self.source_stream, owed)
            self.source.touch()


class Relays:
    """What a connection, as the sink of bodies, still owes to their sources."""

    __slots__ = ("blocked", "unsettled")

    def __init__(self) -> None:
        self.unsettled: list[tuple[int, Relay]] = []
        """By stream: those to look at after the next flush."""
        self.blocked: dict[int, Relay] = {}
        """By stream: those that wait for the peer to open a window."""

    def settle(self, codec: Codec, stuck_bytes: int) -> None:
        """Looks at each stream by itself: one whose bytes have left the codec goes on while the socket is still busy
        with the others', so that streams of a full tunnel do not all stop and start together. `stuck_bytes` is what
        the socket has not taken, which counts where it can only be this stream's."""
        unsettled, self.unsettled = self.unsettled, []
        alone = stuck_bytes if codec.open_streams <= 1 else 0
        for stream_id, relay in unsettled:
            if codec.queued(stream_id) + alone <= LOW_WATER_BYTES:
                relay.settle()
            elif stuck_bytes:
                # It waits for the socket, not for the peer's window.
                self.unsettled.append((stream_id, relay))
            else:
                self.blocked[stream_id] = relay

    def forget(self, stream_id: int) -> None:
        """The stream has ended: nothing of it is waited for any more."""
        if relay := self.blocked.pop(stream_id, None):
            relay.settle()

    def reconsider(self, stream_id: int) -> None:
        """The peer opened a stream's window (0: all of them): what waited for it is looked at after the next flush."""
        if stream_id:
            if relay := self.blocked.pop(stream_id, None):
                self.unsettled.append((stream_id, relay))
        elif self.blocked:
            self.unsettled.extend(self.blocked.items())
            self.blocked.clear()

    def give_up(self) -> None:
        """The connection is gone: nothing is owed any more."""
        relays = [*(relay for _, relay in self.unsettled), *self.blocked.values()]
        self.unsettled.clear()
        self.blocked.clear()
        for relay in relays:
            relay.settle()
