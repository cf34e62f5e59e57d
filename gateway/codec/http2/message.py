"""HTTP/2 messages: header blocks to heads and back, and the rules that the engines leave to us.

Both engines refuse upper-case names, connection-specific fields, misplaced or unknown pseudo-headers and bodies that
disagree with `content-length` (nghttp2 by its messaging rules, h2 by its validation). What is left is here:

- `:authority` and `host` must not name different entities (RFC 9113 section 8.3.1); `host` stands in for a missing
  `:authority`;
- a plain CONNECT has `:method` and `:authority` and nothing else (section 8.5), an extended one has all four and
  `:protocol` (RFC 8441 section 4);
- a list of fields has a bounded count and size, counted as SETTINGS_MAX_HEADER_LIST_SIZE counts (section 6.5.2).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.headers import HEADER_LIMIT, REASON
from gateway.codec.http2.extended_connect import read_request
from gateway.codec.limits import CodecLimits

FIELD_OVERHEAD_BYTES: Final = 32
"""What each field counts beyond its name and value (RFC 9113 section 6.5.2)."""

CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)

HARD_LIMIT_FACTOR: Final = 2
"""An engine drops the connection, with all its streams, for a header list above its own limit. A list between the
limit that we advertise and that one costs only its stream, so that one workload's headers never close a tunnel that
others share."""

# As long as a host name and a port can be.
_SHORT_BYTES: Final = 260

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PATH: Final = re.compile(rb"/[!-~\x80-\xff]*")
_AUTHORITY: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]+")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")


class MalformedMessage(Exception):
    """A message that its stream is reset for (RFC 9113 section 8.1.1). Never leaves the codec."""


class TooLarge(Exception):
    """A list of fields above `CodecLimits`; its text says which. Never leaves the codec."""


TOO_LARGE_ANSWER: Final = ResponseHead(431, [(REASON, HEADER_LIMIT.encode())])
"""To a request whose fields are above the limits (RFC 6585 section 5)."""


def check_size(headers: Sequence[Header], limits: CodecLimits) -> None:
    """Raises `TooLarge` for a list of fields that is longer or bigger than the limits."""
    if len(headers) > limits.header_count:
        raise TooLarge(f"{len(headers)} fields, and no more than {limits.header_count} are taken")
    size = FIELD_OVERHEAD_BYTES * len(headers)
    for name, value in headers:
        size += len(name) + len(value)
    if size > limits.header_bytes:
        raise TooLarge(f"its fields are larger than {limits.header_bytes} bytes")


def parse_request(headers: Sequence[Header]) -> RequestHead:
    """A header block to a request's head: the pseudo-headers come first and once, the engines saw to it. Raises
    `MalformedMessage`."""
    method = scheme = authority = path = protocol = b""
    count = 0
    for name, value in headers:
        if name == b":method":
            method = value
        elif name == b":scheme":
            scheme = value
        elif name == b":authority":
            authority = value
        elif name == b":path":
            path = value
        elif name == b":protocol":
            protocol = value
        else:
            break
        count += 1
    fields = list(headers[count:])
    has_host = has_cookie = False
    for name, _ in fields:
        if name == b"host":
            has_host = True
        elif name == b"cookie":
            has_cookie = True
    if has_host:
        authority = _take_host(fields, authority)
    if has_cookie:
        _join_cookies(fields)
    head = RequestHead(method, scheme, authority, path, fields, protocol)
    _check_request(head)
    if protocol and not read_request(head):
        raise MalformedMessage(":protocol is none that can be asked for so")
    return head


def _take_host(fields: list[Header], authority: bytes) -> bytes:
    """The authority of a request that has `host`, which is taken out."""
    hosts = {value for name, value in fields if name == b"host"} - {b""}
    if len(hosts) > 1:
        raise MalformedMessage("two host fields")
    fields[:] = [field for field in fields if field[0] != b"host"]
    for host in hosts:
        if authority and authority.lower() != host.lower():
            raise MalformedMessage("host and :authority differ")
        return host
    return authority


def _check_request(head: RequestHead) -> None:
    if head.method == b"CONNECT" and not head.protocol:
        if head.scheme or head.path or not head.authority:
            raise MalformedMessage("a CONNECT has :method and :authority only")
    elif head.protocol and head.method != b"CONNECT":
        raise MalformedMessage(":protocol without CONNECT")
    elif not head.method or not head.scheme or not head.path:
        raise MalformedMessage("a pseudo-header is missing")
    elif head.path[:1] != b"/" and (head.path != b"*" or head.method != b"OPTIONS"):
        raise MalformedMessage(":path is not absolute")
    if head.authority and not _is_authority(head.authority):
        raise MalformedMessage(":authority is not host and port")


def _is_authority(value: bytes) -> bool:
    return _is_short_authority(value) if len(value) <= _SHORT_BYTES else _AUTHORITY.fullmatch(value) is not None


@lru_cache(maxsize=1024)
def _is_short_authority(value: bytes) -> bool:
    """Remembered, as nearly all requests name a few hosts."""
    return _AUTHORITY.fullmatch(value) is not None


def _join_cookies(fields: list[Header]) -> None:
    """Cookie crumbs are one field outside HTTP/2 (RFC 9113 section 8.2.3)."""
    crumbs = [value for name, value in fields if name == b"cookie"]
    if len(crumbs) > 1:
        fields[:] = [*(field for field in fields if field[0] != b"cookie"), (b"cookie", b"; ".join(crumbs))]


def request_block(head: RequestHead) -> list[Header]:
    """A request's head to a header block."""
    if head.path and head.scheme and head.authority and not head.protocol:
        return [
            (b":method", head.method),
            (b":scheme", head.scheme),
            (b":authority", head.authority),
            (b":path", head.path),
            *head.headers,
        ]
    block: list[Header] = [(b":method", head.method)]
    if head.protocol:
        block.append((b":protocol", head.protocol))
    if head.scheme:
        block.append((b":scheme", head.scheme))
    if head.authority:
        block.append((b":authority", head.authority))
    if head.path:
        block.append((b":path", head.path))
    block += head.headers
    return block


def parse_response(headers: Sequence[Header]) -> ResponseHead:
    """A header block to a response's head; `:status` is there and comes first, the engines saw to it."""
    status = headers[0][1]
    return ResponseHead(_STATUS_OF.get(status) or int(status), [*headers[1:]])


_STATUS: Final = {status: (b":status", b"%d" % status) for status in range(100, 600)}
_STATUS_OF: Final = {text: status for status, (_, text) in _STATUS.items()}


def response_block(head: ResponseHead) -> list[Header]:
    """A response's head to a header block."""
    return [_STATUS.get(head.status) or (b":status", b"%d" % head.status), *head.headers]


class Block(enum.Enum):
    """What a header block is the head of."""

    REQUEST = enum.auto()
    RESPONSE = enum.auto()
    TRAILERS = enum.auto()


_PSEUDO: Final = {
    Block.REQUEST: frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"}),
    Block.RESPONSE: frozenset({b":status"}),
    Block.TRAILERS: frozenset(),
}
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"(?![ \t])[\t\x20-\x7e\x80-\xff]*(?<![ \t])")
# There is no 101 in HTTP/2 (RFC 9113 section 8.6), and a client of HTTP/1.1 would believe it.
_STATUS_CODE: Final = re.compile(rb"(?!101)[1-5][0-9]{2}")
_CHARACTERS: Final = {b":method": _TOKEN, b":scheme": _SCHEME, b":path": _PATH, b":status": _STATUS_CODE}


def validate_block(headers: Iterable[Header], block: Block) -> None:
    """What nghttp2 checks by itself (RFC 9113 sections 8.2 and 8.3). Raises `MalformedMessage`."""
    seen: set[bytes] = set()
    regular = False
    for name, value in headers:
        if name[:1] == b":":
            if regular or name in seen or name not in _PSEUDO[block]:
                raise MalformedMessage("a pseudo-header is unknown, repeated or late")
            seen.add(name)
            wanted = _CHARACTERS.get(name)
            if wanted is not None and value != b"*" and not wanted.fullmatch(value):
                raise MalformedMessage("a pseudo-header has forbidden characters")
        else:
            regular = True
            _validate_field(name, value)
            if name == b"content-length" and (name in seen or not value.isdigit()):
                raise MalformedMessage("content-length is repeated or no number")
            seen.add(name)
    if block is Block.RESPONSE and b":status" not in seen:
        raise MalformedMessage(":status is missing")


def content_length(headers: Iterable[Header]) -> int | None:
    """What a validated block says about its body's size."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


def _validate_field(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise MalformedMessage("a field has forbidden characters")
    if name in CONNECTION_SPECIFIC or (name == b"te" and value.lower() != b"trailers"):
        raise MalformedMessage("a field belongs to another kind of connection")
