"""An HTTP/2 codec and the hand-written peer that it talks to."""

from __future__ import annotations

from gateway.codec.events import (
    Event,
)
from gateway.codec.interface import Codec
from gateway.codec.limits import CodecLimits
from tests.codec_pair import LIMITS, make_client, make_server
from tests.http2_wire import Wire


class Peer:
    """A codec and the hand-written peer that it talks to."""

    def __init__(self, kind: str, *, client: bool, limits: CodecLimits = LIMITS) -> None:
        self.wire = Wire()
        self.codec: Codec = make_client(kind, limits) if client else make_server(kind, limits)
        self.client = client

    def greet(self, settings: dict[int, int] | None = None) -> None:
        """Both sides' SETTINGS and their acknowledgements."""
        self.codec.receive(self.wire.hello(client=not self.client, settings=settings))
        self.codec.receive(self.wire.settings_ack())
        self.said()

    def said(self) -> list[object]:
        """The frames that the codec has for its peer now."""
        out = b""
        while data := self.codec.data_to_send():
            out += data
        return list(self.wire.read(out))

    def tell(self, *frames: bytes) -> list[Event]:
        return self.codec.receive(b"".join(frames))
