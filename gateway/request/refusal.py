"""The answers that a gateway makes itself. Pure. What each reason means is in docs/reference/reasons.md."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.headers import REASON

STATUS_OF_REASON: Final = {
    b"no-route": 404,
    b"not-allowed": 403,
    b"source-not-believed": 403,
    b"no-healthy-upstream": 503,
    b"connect-failure": 503,
    b"refused-stream": 503,
    b"overflow": 503,
    b"upstream-connection-lost": 502,
    b"upstream-reset": 502,
    b"upstream-protocol-error": 502,
    b"upstream-timeout": 504,
    b"downstream-timeout": 408,
}
"""Why a gateway refuses a request that it understood, and the status that goes with it. A peer's answer that pairs them
otherwise is its endpoint's, whatever it calls itself."""

# gRPC's UNAVAILABLE, which the retry policies of its clients know; DEADLINE_EXCEEDED, which a client's own deadline
# would have said; PERMISSION_DENIED.
_GRPC_UNAVAILABLE: Final = b"14"
_GRPC_STATUS: Final = {504: b"4", 408: b"4", 403: b"7"}
# What `grpc-message` may hold as it is (gRPC over HTTP/2, Status-Message): printable ASCII without "%".
_GRPC_MESSAGE_PLAIN: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
# How much of what a client asked for is repeated to it.
_SHOWN_BYTES: Final = 256


def refusal(
    request: RequestHead, *, status: int, reason: str, detail: str, where: str, grpc: bool
) -> tuple[ResponseHead, bytes]:
    """A head with `isthmus-reason`, and a body. With `grpc`, a gRPC status, which is all that such a client looks at.

    `where` names the gateway that answers, for people.
    """
    authority = request.authority[:_SHOWN_BYTES].decode("latin-1")
    text = f"{reason}: {authority} asked of {where}: {detail}\n"
    if grpc:
        said = grpc_status(status, text.strip())
        return ResponseHead(200, [(b"content-type", b"application/grpc"), *said, (REASON, reason.encode())]), b""
    body = b"" if request.method in (b"HEAD", b"CONNECT") else text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (REASON, reason.encode()),
    ]
    return ResponseHead(status, headers), body


def grpc_status(status: int, text: str) -> list[Header]:
    """How gRPC says what HTTP would say with this status: the fields that end a call, in its head or its trailers.

    >>> grpc_status(504, "late: 100%")
    [(b'grpc-status', b'4'), (b'grpc-message', b'late: 100%25')]
    """
    return [
        (b"grpc-status", _GRPC_STATUS.get(status, _GRPC_UNAVAILABLE)),
        (b"grpc-message", quote(text, safe=_GRPC_MESSAGE_PLAIN).encode()),
    ]
