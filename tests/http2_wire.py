"""HTTP/2 written and read by hand: a peer that may say what no engine would."""

from __future__ import annotations

from collections.abc import Sequence

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from gateway.codec.events import Header
from gateway.codec.http2.frames import PREFACE, settings_frame

GET: list[Header] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
POST: list[Header] = [(b":method", b"POST"), *GET[1:]]


class Wire:
    """Makes frames' bytes, with one HPACK state."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._decoder = Decoder()

    def hello(self, *, client: bool, settings: dict[int, int] | None = None) -> bytes:
        """A connection's first bytes."""
        return (PREFACE if client else b"") + settings_frame(settings or {})

    def settings_ack(self) -> bytes:
        return SettingsFrame(0, flags=["ACK"]).serialize()

    def headers(self, stream_id: int, fields: Sequence[Header], *, end_stream: bool = False, pieces: int = 1) -> bytes:
        """A header block in one HEADERS frame, or with `pieces - 1` CONTINUATION frames."""
        block = self._encoder.encode(fields)
        size = -(-len(block) // pieces)
        parts = [block[i * size : (i + 1) * size] for i in range(pieces)]
        frames: list[Frame] = [HeadersFrame(stream_id, parts[0], flags=["END_STREAM"] if end_stream else [])]
        frames += [ContinuationFrame(stream_id, part) for part in parts[1:]]
        frames[-1].flags.add("END_HEADERS")
        return b"".join(frame.serialize() for frame in frames)

    def data(self, stream_id: int, data: bytes, *, end_stream: bool = False, padding: int = 0) -> bytes:
        frame = DataFrame(stream_id, data, pad_length=padding)
        if end_stream:
            frame.flags.add("END_STREAM")
        if padding:
            frame.flags.add("PADDED")
        return frame.serialize()

    def rst(self, stream_id: int, code: int) -> bytes:
        return RstStreamFrame(stream_id, code).serialize()

    def ping(self, payload: bytes = bytes(8)) -> bytes:
        return PingFrame(0, payload).serialize()

    def settings(self, settings: dict[int, int]) -> bytes:
        return settings_frame(settings)

    def window(self, stream_id: int, size: int) -> bytes:
        return WindowUpdateFrame(stream_id, size).serialize()

    def goaway(self, last_stream_id: int, code: int = 0) -> bytes:
        return GoAwayFrame(0, last_stream_id, code).serialize()

    def read(self, data: bytes) -> list[Frame]:
        """The frames in an engine's output; the blocks of HEADERS are decoded into `fields`."""
        frames: list[Frame] = []
        view = memoryview(data.removeprefix(PREFACE))
        while view:
            frame, length = Frame.parse_frame_header(view[:9])
            frame.parse_body(view[9 : 9 + length])
            if isinstance(frame, HeadersFrame):
                frame.fields = [tuple(field) for field in self._decoder.decode(frame.data, raw=True)]  # type: ignore[attr-defined]
            frames.append(frame)
            view = view[9 + length :]
        return frames
