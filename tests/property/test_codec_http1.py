"""HTTP/1.1: how bytes are cut changes nothing, and no bytes whatever make a codec raise or grow."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.codec.events import Data, Event, Request, Reset, Response, Trailers
from gateway.codec.http1.client import Http1ClientCodec
from gateway.codec.http1.server import Http1ServerCodec
from gateway.codec.limits import CodecLimits
from tests.codec_pair import only, request, response

LIMITS = CodecLimits(header_bytes=2_048, header_count=16)

token = st.text("abcxyz-", min_size=1, max_size=8).map(str.encode)
value = st.text("abc xyz,;=", max_size=12).map(lambda text: text.strip().encode())
fields = st.lists(st.tuples(token.map(lambda name: b"x-" + name), value), max_size=4)
bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=4)


@st.composite
def messages(draw: st.DrawFn, first_line: bytes) -> bytes:
    """A message with a body of a known length, a chunked one or none."""
    lines = [first_line, *(b"%b: %b" % field for field in draw(fields))]
    body = draw(bodies)
    kind = draw(st.sampled_from(["length", "chunked"]))
    if kind == "length":
        data = b"".join(body)
        return b"\r\n".join([*lines, b"content-length: %d" % len(data), b"", data])
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in body)
    trailers = b"".join(b"%b: %b\r\n" % field for field in draw(fields))
    return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", chunks + b"0", trailers + b"\r\n"])


requests = messages(b"POST /path HTTP/1.1\r\nhost: a")
responses = messages(b"HTTP/1.1 200 OK")


def joined(events: Sequence[Event]) -> list[object]:
    """Events with the pieces of each body put together."""
    out: list[object] = []
    for event in events:
        if isinstance(event, Data):
            if out and isinstance(out[-1], Data) and out[-1].stream_id == event.stream_id:
                out[-1] = Data(event.stream_id, out[-1].data + event.data, event.end_stream)
            elif event.data or event.end_stream:
                out.append(event)
        else:
            out.append(event)
    return [event for event in out if not isinstance(event, Data) or event.data or event.end_stream]


def serve(pieces: Sequence[bytes]) -> tuple[list[Event], Http1ServerCodec]:
    """A server that answers every request when it has come."""
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    events: list[Event] = []
    answered = 0
    for piece in pieces:
        new = server.receive(piece)
        while new:
            events += new
            for event in new:
                if isinstance(event, Trailers) or (
                    isinstance(event, Request | Data) and getattr(event, "end_stream", False)
                ):
                    answered += 1
                    server.send_response(event.stream_id, response(204), True)
            new = server.resume()
    return events, server


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


@given(st.lists(requests, min_size=1, max_size=3), st.lists(st.integers(0, 10_000), max_size=12))
def test_how_a_request_is_cut_changes_nothing(messages: list[bytes], places: list[int]) -> None:
    data = b"".join(messages)
    whole, _ = serve([data])
    pieces, server = serve(cut(data, places))
    assert joined(pieces) == joined(whole)
    assert len(only(whole, Request)) == len(messages)
    assert server.failure is None
    assert server.open_streams == 0


@given(responses, st.lists(st.integers(0, 10_000), max_size=12))
def test_how_a_response_is_cut_changes_nothing(message: bytes, places: list[int]) -> None:
    seen = []
    for pieces in ([message], cut(message, places)):
        client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
        client.send_request(request(), True)
        client.data_to_send()
        events: list[Event] = []
        for piece in pieces:
            events += client.receive(piece)
        assert client.can_open
        seen.append(joined(events))
    assert seen[0] == seen[1]
    assert isinstance(seen[0][0], Response)


@st.composite
def mutated(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """A message in which a few bytes are others, or missing, or repeated."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        data[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b":", b"\0", b"0", b"f", b";", b"\xff", b"chunked"])
        )
    return bytes(data)


@given(st.one_of(st.binary(max_size=200), mutated(requests)), st.lists(st.integers(0, 10_000), max_size=6))
def test_no_bytes_make_a_server_raise(data: bytes, places: list[int]) -> None:
    """And at most one reset for each request, none after its end; the answers are whole messages."""
    events, server = serve(cut(data, places))
    events += server.receive_eof()
    for begun in only(events, Request):
        own = [event for event in events if getattr(event, "stream_id", 0) == begun.stream_id]
        ends = [event for event in own if isinstance(event, Reset | Trailers) or getattr(event, "end_stream", False)]
        assert len(ends) == 1
        assert own[-1] is ends[0]
    server.data_to_send()
    assert server.closing
    assert server.receive(data) == []


accepting = st.just(b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: bar\r\n\r\nraw")


@given(
    st.one_of(st.binary(max_size=200), mutated(responses), accepting, mutated(accepting)),
    st.sampled_from([b"", b"websocket", b"foo, bar"]),
)
def test_no_bytes_make_a_client_raise(data: bytes, upgrade: bytes) -> None:
    """The request's stream ends exactly once, whatever the server says."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    head = request()
    if upgrade:
        head.method, head.protocol = b"CONNECT", upgrade
    client.send_request(head, not upgrade)
    client.data_to_send()
    events = client.receive(data) + client.receive_eof()
    ends = [event for event in events if isinstance(event, Reset | Trailers) or getattr(event, "end_stream", False)]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    assert upgrade or client.closing
