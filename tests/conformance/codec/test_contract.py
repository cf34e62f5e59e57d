"""What every HTTP codec does alike, whatever is on the wire: one suite over HTTP/1.1 and both HTTP/2 engines."""

from __future__ import annotations

import pytest

from gateway.codec.events import Data, ErrorCode, Informational, Request, Reset, Response, Trailers
from gateway.codec.limits import ALL_BYTES
from gateway.codec.output import OUTPUT_BYTES
from tests.codec_pair import HTTP_PAIRS, LIMITS, Pair, body_of, only, request, response, wants

FIELDS = [(b"user-agent", b"test"), (b"x-empty", b""), (b"x-twice", b"1"), (b"x-twice", b"2")]


@pytest.fixture(params=HTTP_PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


def begin(pair: Pair, method: bytes = b"POST", *, end_stream: bool = False) -> int:
    """A request whose head has arrived. Returns its stream at the server."""
    pair.client.send_request(request(method), end_stream)
    (event,) = only(pair.take_server(), Request)
    return event.stream_id


def test_a_request_arrives_as_it_was_sent(pair: Pair) -> None:
    """Method, scheme, authority, path and every field, in order: routing and the next hop depend on all of them."""
    head = request(b"GET", b"/a/b?c=d", FIELDS)
    stream_id = pair.client.send_request(head, True)
    events = pair.take_server()
    assert events == [Request(stream_id, head, True)]
    assert pair.server.open_streams == pair.client.open_streams == 1


def test_a_response_arrives_as_it_was_sent(pair: Pair) -> None:
    """The same for the way back; afterwards nothing is open and the connection takes the next request."""
    stream_id = begin(pair, b"GET", end_stream=True)
    head = response(418, [*FIELDS, (b"content-length", b"5")])
    pair.server.send_response(stream_id, head, False)
    pair.server.send_data(stream_id, b"hello", True)
    events = pair.take_client()
    assert events[0] == Response(stream_id, head, False)
    assert body_of(events) == b"hello"
    assert only(events, Data)[-1].end_stream
    assert pair.server.open_streams == pair.client.open_streams == 0
    assert pair.client.can_open
    assert begin(pair, b"GET", end_stream=True) > stream_id


def test_bodies_and_trailers_go_both_ways(pair: Pair) -> None:
    """A body of no known length ends by trailers on both sides (gRPC lives on them)."""
    stream_id = begin(pair)
    pair.client.send_data(stream_id, b"ping", False)
    pair.client.send_trailers(stream_id, [(b"x-sum", b"1")])
    events = pair.take_server()
    assert body_of(events) == b"ping"
    assert events[-1] == Trailers(stream_id, [(b"x-sum", b"1")])
    pair.server.send_response(stream_id, response(), False)
    pair.server.send_data(stream_id, b"pong", False)
    pair.server.send_trailers(stream_id, [(b"grpc-status", b"0")])
    events = pair.take_client()
    assert body_of(events) == b"pong"
    assert events[-1] == Trailers(stream_id, [(b"grpc-status", b"0")])
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_trailers_end_a_response_whose_request_goes_on(pair: Pair) -> None:
    """A call of gRPC whose time is over while both sides still speak: its client reads the status, and then nothing."""
    stream_id = pair.client.send_request(request(b"POST"), False)
    pair.client.send_data(stream_id, b"question", False)
    pair.pump()
    pair.server.send_response(stream_id, response(), False)
    pair.server.send_data(stream_id, b"answer", False)
    pair.pump()
    pair.server.send_trailers(stream_id, [(b"grpc-status", b"4")])
    events = pair.take_client()
    assert body_of(events) == b"answer"
    assert events[-1] == Trailers(stream_id, [(b"grpc-status", b"4")])
    pair.client.send_data(stream_id, b"another", True)
    assert only(pair.take_client(), Reset) == []
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_an_empty_end_is_an_end(pair: Pair) -> None:
    """The exchange often learns of the end after the last byte: `send_data(b"", True)` must arrive."""
    stream_id = begin(pair)
    pair.client.send_data(stream_id, b"x", False)
    pair.pump()
    pair.client.send_data(stream_id, b"", True)
    assert only(pair.take_server(), Data)[-1].end_stream
    pair.server.send_response(stream_id, response(), False)
    pair.pump()
    pair.server.send_data(stream_id, b"", True)
    assert only(pair.take_client(), Data)[-1].end_stream


def test_a_client_may_wait_for_leave_to_send_its_body(pair: Pair) -> None:
    """The expectation is a field like any other, the 100 an informational response (RFC 9110 section 10.1.1)."""
    expecting = request(b"POST", headers=[(b"content-length", b"4"), (b"expect", b"100-continue")])
    stream_id = pair.client.send_request(expecting, False)
    assert pair.take_server() == [Request(stream_id, expecting, False)]
    pair.server.send_informational(stream_id, response(100))
    assert pair.take_client() == [Informational(stream_id, response(100))]
    pair.client.send_data(stream_id, b"body", True)
    assert body_of(pair.take_server()) == b"body"


def test_informational_responses_come_before_the_final_one(pair: Pair) -> None:
    stream_id = begin(pair, b"GET", end_stream=True)
    hints = response(103, [(b"link", b"</a.css>")])
    pair.server.send_informational(stream_id, hints)
    pair.server.send_response(stream_id, response(204), True)
    events = pair.take_client()
    assert events == [Informational(stream_id, hints), Response(stream_id, response(204), True)]


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_end_at_their_head(pair: Pair, status: int) -> None:
    stream_id = begin(pair, b"GET", end_stream=True)
    pair.server.send_response(stream_id, response(status), True)
    assert pair.take_client() == [Response(stream_id, response(status), True)]
    assert pair.client.can_open


def test_a_head_response_may_have_a_length_and_has_no_body(pair: Pair) -> None:
    """`content-length` tells what GET would have given (RFC 9110 section 9.3.2); nothing waits for those bytes."""
    stream_id = begin(pair, b"HEAD", end_stream=True)
    head = response(200, [(b"content-length", b"1000")])
    pair.server.send_response(stream_id, head, True)
    assert pair.take_client() == [Response(stream_id, head, True)]
    assert pair.client.can_open


def test_a_request_body_stops_at_the_window(pair: Pair) -> None:
    """Backpressure: what the server does not consume stops the client's sender, and consuming lets it go on."""
    stream_id = begin(pair)
    sent = bytes(LIMITS.stream_window * 4)
    for start in range(0, len(sent), 16_384):
        pair.client.send_data(stream_id, sent[start : start + 16_384], False)
    pair.client.send_data(stream_id, b"", True)
    received = bytearray()
    ended = False
    rounds = 0
    while not ended:
        events = only(pair.take_server(), Data)
        held = sum(len(event.data) for event in events)
        assert 0 < held <= LIMITS.stream_window + OUTPUT_BYTES
        received += body_of(events)
        ended = events[-1].end_stream
        pair.server.consumed(stream_id, held)
        rounds += 1
    assert received == sent
    assert pair.client.queued(stream_id) == 0


def test_a_response_body_stops_at_the_window(pair: Pair) -> None:
    """The same for the way back."""
    stream_id = begin(pair, b"GET", end_stream=True)
    pair.server.send_response(stream_id, response(), False)
    sent = bytes(LIMITS.stream_window * 8)
    pair.server.send_data(stream_id, sent, True)
    received = 0
    while received < len(sent):
        events = only(pair.take_client(), Data)
        held = sum(len(event.data) for event in events)
        assert 0 < held <= LIMITS.stream_window + OUTPUT_BYTES
        received += held
        pair.client.consumed(stream_id, held)
    assert pair.server.queued(stream_id) == 0


def test_output_is_handed_out_in_bounded_pieces(pair: Pair) -> None:
    """However much is queued: a driver holds at most one piece that its socket does not take."""
    stream_id = begin(pair, b"GET", end_stream=True)
    pair.server.send_response(stream_id, response(), False)
    for _ in range(64):
        pair.server.send_data(stream_id, bytes(65_536), False)
    while data := pair.server.data_to_send():
        assert len(data) <= OUTPUT_BYTES + 32_768


@pytest.mark.parametrize("size", [1, 70_000, 300_000, 1_000_000])
def test_a_short_piece_is_the_last(pair: Pair, size: int) -> None:
    """A driver asks once more only after a long one, which saves it a call in nearly every flush."""
    stream_id = begin(pair, b"GET", end_stream=True)
    pair.server.send_response(stream_id, response(), False)
    pair.server.send_data(stream_id, bytes(size), True)
    pieces = []
    while data := pair.server.data_to_send():
        pieces.append(len(data))
    assert sum(pieces) >= min(size, LIMITS.stream_window)
    assert all(piece >= ALL_BYTES for piece in pieces[:-1])


def test_queued_counts_down_to_nothing(pair: Pair) -> None:
    """The relay gives the source's window back when the sink has handed the bytes out: `queued` must say so."""
    stream_id = begin(pair, b"GET", end_stream=True)
    pair.server.send_response(stream_id, response(), False)
    pair.server.send_data(stream_id, bytes(10_000), False)
    assert pair.server.queued(stream_id) == 10_000
    pair.pump()
    assert pair.server.queued(stream_id) == 0


def test_a_client_that_resets_is_heard_once(pair: Pair) -> None:
    """The server's exchange must end, once; the resetting side hears nothing more of the stream."""
    stream_id = begin(pair)
    pair.client.reset(stream_id, ErrorCode.CANCEL)
    assert pair.take_server() == [Reset(stream_id, ErrorCode.CANCEL)]
    pair.server.send_response(stream_id, response(), False)
    pair.server.send_data(stream_id, b"late", True)
    pair.server.consumed(stream_id, 10)
    pair.server.reset(stream_id, ErrorCode.CANCEL)
    assert pair.take_client() == []
    assert pair.take_server() == []
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_a_server_that_resets_is_heard_once(pair: Pair) -> None:
    """A response that breaks off must not look whole."""
    stream_id = begin(pair, b"GET", end_stream=True)
    pair.server.send_response(stream_id, response(), False)
    pair.server.send_data(stream_id, b"half", False)
    pair.pump()
    pair.server.reset(stream_id, ErrorCode.CANCEL)
    events = pair.take_client()
    assert body_of(events) == b"half"
    assert events[-1] == Reset(stream_id, ErrorCode.CANCEL)
    assert not any(event.end_stream for event in only(events, Data))
    assert pair.take_server() == []


def test_the_end_of_the_connection_ends_every_stream(pair: Pair) -> None:
    """receive_eof tells each open stream, once, on both sides, and the connection wants to be closed."""
    stream_id = begin(pair)
    for codec in (pair.client, pair.server):
        assert codec.receive_eof() == [Reset(stream_id, ErrorCode.CANCEL)]
        assert codec.receive_eof() == []
        assert codec.closing
        assert codec.open_streams == 0
        assert not codec.can_open


def test_the_end_of_an_idle_connection_is_no_event(pair: Pair) -> None:
    pair.pump()
    for codec in (pair.client, pair.server):
        assert codec.receive_eof() == []
        assert codec.closing
        assert codec.failure is None


def test_a_response_before_the_request_has_ended(pair: Pair) -> None:
    """The server refuses early. The client sees a whole response and no reset, and the rest of the request goes
    nowhere without harm."""
    stream_id = begin(pair)
    pair.client.send_data(stream_id, b"some", False)
    pair.pump()
    pair.server.send_response(stream_id, response(413, [(b"content-length", b"3")]), False)
    pair.server.send_data(stream_id, b"no!", True)
    events = pair.take_client()
    assert events[0] == Response(stream_id, response(413, [(b"content-length", b"3")]), False)
    assert body_of(events) == b"no!"
    assert only(events, Reset) == []
    pair.take_server()
    pair.client.send_data(stream_id, b"more", True)
    assert only(pair.take_server(), Data) == []
    assert pair.server.failure is None
    assert pair.server.open_streams == 0


def test_commands_for_unknown_streams_do_nothing(pair: Pair) -> None:
    """The caller can't have known that the stream is gone."""
    pair.pump()
    for codec, stream_id in ((pair.client, 7), (pair.server, 7)):
        codec.send_data(stream_id, b"x", True)
        codec.send_trailers(stream_id, [(b"a", b"b")])
        codec.reset(stream_id, ErrorCode.CANCEL)
        codec.consumed(stream_id, 100)
        assert codec.queued(stream_id) == 0
    pair.server.send_response(7, response(), True)
    pair.server.send_informational(7, response(103))
    assert pair.client.data_to_send() == pair.server.data_to_send() == b""


def test_connection_fields_never_reach_the_events(pair: Pair) -> None:
    """`te: trailers` is the one that may be passed on (RFC 9110 section 7.6.1)."""
    pair.client.send_request(request(headers=[(b"te", b"trailers")]), True)
    (event,) = only(pair.take_server(), Request)
    assert event.head.headers == [(b"te", b"trailers")]


def test_draining_lets_the_present_request_end(pair: Pair) -> None:
    """A draining server answers what it has taken, takes no more, and then wants to close."""
    stream_id = begin(pair, b"GET", end_stream=True)
    pair.server.drain()
    pair.pump()
    pair.server.drained()
    pair.pump()
    assert not wants(pair.server, "closing")
    pair.server.send_response(stream_id, response(200, [(b"content-length", b"2")]), False)
    pair.server.send_data(stream_id, b"ok", True)
    assert body_of(pair.take_client()) == b"ok"
    assert wants(pair.server, "closing")
    assert wants(pair.client, "closing")
    assert not wants(pair.client, "can_open")
