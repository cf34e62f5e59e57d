"""A gateway's events as they happen, read as server-sent events; a lost connection is made again where it ended."""

from __future__ import annotations

import http.client
import time
from collections.abc import Generator, Iterator

import msgspec

from federation.status.event_values import EventDocument
from gateway.cli.exit_codes import UNREACHABLE, Failure
from gateway.cli.gateway_api import GatewayApi

RETRY_S = 1.0
_SILENCE_S = 40.0
"""The gateway says something every 15 seconds."""
_LINE_LIMIT_BYTES = 1 << 20


class Missed(msgspec.Struct, frozen=True):
    """Events after `since` and before `oldest_id` are no longer known."""

    since: int
    oldest_id: int


class EventFeed:
    """Iterates forever over what `path` of the API tells. Raises Failure if the first connection can't be made, or the
    gateway refuses."""

    def __init__(self, api: GatewayApi, path: str, retry_s: float = RETRY_S) -> None:
        self._api = api
        self._path = path
        self._retry_s = retry_s
        self._last_id = 0

    def __iter__(self) -> Generator[EventDocument | Missed, None, None]:
        began = False
        while True:
            try:
                with self._api.opened(self._path, self._headers(), _SILENCE_S) as response:
                    began = True
                    yield from self._read(response)
            except Failure:
                if not began:
                    raise
            except (OSError, http.client.HTTPException):
                pass  # The gateway may be starting anew; it is asked again for what came since.
            time.sleep(self._retry_s)

    def _headers(self) -> dict[str, str]:
        return {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(self._last_id)} if self._last_id else {})

    def _read(self, response: http.client.HTTPResponse) -> Iterator[EventDocument | Missed]:
        kind, data = "", b""
        while line := response.readline(_LINE_LIMIT_BYTES):
            field, _, value = line.rstrip(b"\r\n").partition(b": ")
            if field == b"event":
                kind = value.decode(errors="replace")
            elif field == b"data":
                data = value
            elif not field and data:
                told = self._take(kind, data)
                kind, data = "", b""
                yield told

    def _take(self, kind: str, data: bytes) -> EventDocument | Missed:
        try:
            if kind == "missed":
                return msgspec.json.decode(data, type=Missed)
            event = msgspec.json.decode(data, type=EventDocument)
        except msgspec.DecodeError as error:
            raise Failure(UNREACHABLE, f"what {self._api} tells is no event of Isthmus: {error}") from None
        self._last_id = event.id
        return event
