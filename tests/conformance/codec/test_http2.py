"""An HTTP/2 connection as RFC 9113 has it (settings, limits, windows), said by a hand-written peer to both engines."""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from gateway.codec.events import (
    Data,
    PingAck,
    Writable,
)
from gateway.codec.http2.engine import available_engines
from tests.codec_pair import LIMITS, request, response, wants
from tests.http2_peer import Peer
from tests.http2_wire import GET, POST


@pytest.mark.parametrize("kind", available_engines())
def test_a_server_says_its_limits(kind: str) -> None:
    """Windows, frames, streams, header lists, and that it takes extended CONNECT (RFC 8441 section 3)."""
    peer = Peer(kind, client=False)
    frames = peer.said()
    settings = next(frame for frame in frames if isinstance(frame, SettingsFrame))
    wanted = {0x3: 1000, 0x4: 65_536, 0x5: 65_536, 0x6: 65_536, 0x8: 1}
    assert wanted.items() <= settings.settings.items()
    (window,) = [frame for frame in frames if isinstance(frame, WindowUpdateFrame)]
    assert window.window_increment == LIMITS.connection_window - 65_535


@pytest.mark.parametrize("kind", available_engines())
def test_a_client_wants_no_push(kind: str) -> None:
    settings = next(frame for frame in Peer(kind, client=True).said() if isinstance(frame, SettingsFrame))
    assert settings.settings[0x2] == 0


def test_an_empty_end_waits_for_a_window_that_is_shut(server: Peer) -> None:
    """END_STREAM alone is a DATA frame of no bytes; until the engine has sent it the reset must wait."""
    server.tell(server.wire.headers(1, POST))
    server.codec.send_response(1, response(), False)
    server.codec.send_data(1, bytes(65_535), False)
    server.said()
    server.codec.send_data(1, b"", True)
    frames = server.said()
    server.tell(server.wire.window(0, 1_000), server.wire.window(1, 1_000))
    frames += server.said()
    ends = [i for i, frame in enumerate(frames) if isinstance(frame, DataFrame) and "END_STREAM" in frame.flags]
    resets = [i for i, frame in enumerate(frames) if isinstance(frame, RstStreamFrame)]
    assert len(ends) == len(resets) == 1
    assert ends < resets


def test_the_servers_stream_limit_is_kept(client: Peer) -> None:
    """`can_open` follows SETTINGS_MAX_CONCURRENT_STREAMS, also when it falls."""
    client.tell(client.wire.settings({0x3: 2}))
    first = client.codec.send_request(request(), True)
    assert wants(client.codec, "can_open")
    client.codec.send_request(request(), True)
    assert not wants(client.codec, "can_open")
    client.said()
    client.tell(client.wire.headers(first, [(b":status", b"204")], end_stream=True))
    assert wants(client.codec, "can_open")
    client.tell(client.wire.settings({0x3: 0}))
    assert not wants(client.codec, "can_open")


@pytest.mark.parametrize("kind", available_engines())
def test_few_streams_are_opened_before_the_server_has_spoken(kind: str) -> None:
    peer = Peer(kind, client=True)
    while peer.codec.can_open:
        peer.codec.send_request(request(), True)
    assert peer.codec.open_streams == 100
    peer.greet()
    assert peer.codec.can_open


def test_ping_is_answered_and_its_answer_told(server: Peer) -> None:
    assert server.codec.ping(b"12345678")
    assert len(server.said()) == 1
    assert server.tell(server.wire.ping(b"abcdefgh")) == []
    assert len(server.said()) == 1
    pong = bytearray(server.wire.ping(b"12345678"))
    pong[4] = 1
    assert server.tell(bytes(pong)) == [PingAck(b"12345678")]


def test_writable_says_when_a_window_opens(server: Peer) -> None:
    """The relay waits for it: what was queued may fall at the next flush."""
    server.tell(server.wire.headers(1, GET, end_stream=True))
    server.codec.send_response(1, response(), False)
    server.codec.send_data(1, bytes(70_000), False)
    server.said()
    assert server.codec.queued(1) == 70_000 - 65_535
    assert server.tell(server.wire.window(0, 10_000)) == [Writable(0)]
    server.said()
    assert server.codec.queued(1) == 70_000 - 65_535
    assert server.tell(server.wire.window(1, 10_000)) == [Writable(1)]
    server.said()
    assert server.codec.queued(1) == 0
    assert server.tell(server.wire.window(1, 10_000)) == []


def test_larger_initial_windows_open_streams_too(server: Peer) -> None:
    """SETTINGS_INITIAL_WINDOW_SIZE changes the windows of open streams (RFC 9113 section 6.9.2)."""
    server.tell(server.wire.headers(1, GET, end_stream=True), server.wire.window(0, 1_000_000))
    server.codec.send_response(1, response(), False)
    server.codec.send_data(1, bytes(70_000), False)
    server.said()
    assert server.tell(server.wire.settings({0x4: 100_000})) == [Writable(0)]
    server.said()
    assert server.codec.queued(1) == 0


def test_padding_is_given_back_at_once(server: Peer) -> None:
    """Nobody consumes padding, so nobody could give its window back."""
    server.tell(server.wire.headers(1, POST))
    for _ in range(400):
        events = server.tell(server.wire.data(1, b"x", padding=255))
        assert events == [Data(1, b"x", False)]
        server.codec.consumed(1, 1)
        server.said()
    assert server.codec.failure is None
