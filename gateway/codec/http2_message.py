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
from itertools import chain

from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.interface import CodecLimits

FIELD_OVERHEAD_BYTES = 32
"""What each field counts beyond its name and value (RFC 9113 section 6.5.2)."""

CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)

HARD_LIMIT_FACTOR = 2
"""An engine drops the connection, with all its streams, for a header list above its own limit. A list between the
limit that we advertise and that one costs only its stream, so that one workload's headers never close a tunnel that
others share."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PATH = re.compile(rb"/[!-~\x80-\xff]*")
_AUTHORITY = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]+")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")


class MalformedMessage(Exception):
    """A message that its stream is reset for (RFC 9113 section 8.1.1). Never leaves the codec."""


class TooLarge(Exception):
    """A list of fields above `CodecLimits`. Never leaves the codec."""


def check_size(headers: Sequence[Header], limits: CodecLimits) -> None:
    """Raises `TooLarge` for a list of fields that is longer or bigger than the limits."""
    if len(headers) > limits.header_count:
        raise TooLarge
    # Summed without a step of the interpreter for each field: this is done for every message.
    if FIELD_OVERHEAD_BYTES * len(headers) + sum(map(len, chain.from_iterable(headers))) > limits.header_bytes:
        raise TooLarge


def parse_request(headers: Iterable[Header]) -> RequestHead:
    """A header block to a request's head. Raises `MalformedMessage`."""
    method = scheme = authority = path = protocol = host = b""
    fields: list[Header] = []
    crumbs = 0
    for header in headers:
        name = header[0]
        if name[:1] == b":":
            if name == b":method":
                method = header[1]
            elif name == b":path":
                path = header[1]
            elif name == b":authority":
                authority = header[1]
            elif name == b":scheme":
                scheme = header[1]
            elif name == b":protocol":
                protocol = header[1]
        elif name == b"host":
            if host and host != header[1]:
                raise MalformedMessage("two host fields")
            host = header[1]
        else:
            if name == b"cookie":
                crumbs += 1
            fields.append(header)
    if host:
        if authority and authority.lower() != host.lower():
            raise MalformedMessage("host and :authority differ")
        authority = host
    if crumbs > 1:
        fields = _join_cookies(fields)
    head = RequestHead(method, scheme, authority, path, fields, protocol)
    _check_request(head)
    return head


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
    if head.authority and not _AUTHORITY.fullmatch(head.authority):
        raise MalformedMessage(":authority is not host and port")


def _join_cookies(fields: list[Header]) -> list[Header]:
    """Cookie crumbs are one field outside HTTP/2 (RFC 9113 section 8.2.3)."""
    joined = b"; ".join(value for name, value in fields if name == b"cookie")
    return [*(field for field in fields if field[0] != b"cookie"), (b"cookie", joined)]


def request_block(head: RequestHead) -> list[Header]:
    """A request's head to a header block."""
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
    return ResponseHead(int(headers[0][1]), list(headers[1:]))


_STATUS = {status: (b":status", b"%d" % status) for status in range(100, 600)}


def response_block(head: ResponseHead) -> list[Header]:
    """A response's head to a header block."""
    return [_STATUS.get(head.status) or (b":status", b"%d" % head.status), *head.headers]


class Block(enum.Enum):
    """What a header block is the head of."""

    REQUEST = enum.auto()
    RESPONSE = enum.auto()
    TRAILERS = enum.auto()


_PSEUDO = {
    Block.REQUEST: frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"}),
    Block.RESPONSE: frozenset({b":status"}),
    Block.TRAILERS: frozenset(),
}
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?![ \t])[\t\x20-\x7e\x80-\xff]*(?<![ \t])")
_STATUS_CODE = re.compile(rb"[1-5][0-9]{2}")
_CHARACTERS = {b":method": _TOKEN, b":scheme": _SCHEME, b":path": _PATH, b":status": _STATUS_CODE}


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
