"""One call of gRPC's health protocol on a connection that is open."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

import h2.events
import trio

from discovery.grpc_health import METHOD_PATH, NotHealthAnswer, ServingStatus, decode_answer, encode_request
from discovery.probe_stream import CheckFailed, http2_answer, http_status, scheme_of

_LAST_CODE = 16


async def ask_grpc(stream: trio.abc.Stream, authority: str, service: str) -> str | None:
    """None if `service` (empty: the whole server) is SERVING, else the reason. Raises CheckFailed, ProtocolError.

    A server that does not know the service, or not this protocol, fails the check (`grpc-5`, `grpc-12`): who names it
    in a configuration means that it is there.
    """
    head = [
        (":method", "POST"),
        (":scheme", scheme_of(stream)),
        (":authority", authority),
        (":path", METHOD_PATH),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    body = bytearray()
    fields: dict[bytes, bytes] = {}
    async with aclosing(http2_answer(stream, head, encode_request(service))) as events:
        async for event in events:
            if isinstance(event, h2.events.ResponseReceived):
                fields.update(_head_fields(event.headers or ()))
            elif isinstance(event, h2.events.DataReceived):
                body += event.data or b""
            elif isinstance(event, h2.events.TrailersReceived):
                fields.update(event.headers or ())
    return _verdict(fields.get(b"grpc-status", b""), bytes(body))


def _head_fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Trailers-Only answers have their status here. An HTTP status that is not 200 comes from no gRPC server."""
    fields = dict(headers)
    status = http_status(fields.items())
    if status != 200:
        raise CheckFailed(f"http-{status}")
    return fields


def _verdict(code: bytes, body: bytes) -> str | None:
    if not (code.isdigit() and len(code) <= 2 and int(code) <= _LAST_CODE):
        return "malformed"
    if int(code):
        return f"grpc-{int(code)}"
    try:
        status = decode_answer(body)
    except NotHealthAnswer:
        return "malformed"
    return None if status is ServingStatus.SERVING else "not-serving"
