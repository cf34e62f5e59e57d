"""An HTTP/1.1 request's head, as a server reads it (RFC 9112 sections 2 to 3 and 6)."""

from __future__ import annotations

import re
from typing import Final

import httptools

from gateway.codec.events import RequestHead
from gateway.codec.headers import EXPECT
from gateway.codec.http1.handshake import take_upgrade
from gateway.codec.http1.head import Fields, RequestMessage
from gateway.codec.http1.message import Fault, HeadReader
from gateway.codec.limits import CodecLimits

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?#]+)([/?].*)?", re.IGNORECASE)
_HOST: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]*")
_HOST_AND_PORT: Final = re.compile(rb"(?:[A-Za-z0-9\-._~%]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


class RequestReader:
    """Reads one head at a time. `scheme` is that of targets which do not say one."""

    def __init__(self, scheme: bytes, limits: CodecLimits) -> None:
        self._scheme = scheme
        self._limits = limits
        self._reader = HeadReader(httptools.HttpRequestParser)

    def read(self, data: bytes) -> RequestMessage:
        """A whole head. Raises `Fault`."""
        line = _REQUEST_LINE.match(data)
        if line is None:
            raise Fault(400, "malformed-head", "the first line is not 'method target version'")
        method, target, version = line.groups()
        if version not in (b"1.0", b"1.1"):
            raise Fault(505, "unknown-version", "HTTP/1.0 and HTTP/1.1 are spoken here")
        fields = self._reader.read(data, self._limits)
        minor = 0 if version == b"1.0" else 1
        chunked = self._check_framing(method, minor, fields)
        head = self._parse_target(method, target, fields)
        message = RequestMessage(
            head,
            minor,
            keep_alive=b"close" not in fields.connection and (minor == 1 or b"keep-alive" in fields.connection),
            chunked=chunked,
            length=fields.content_length or 0,
            expects_continue=fields.expect != b"" and self._expects_continue(minor, chunked, fields),
        )
        self._check_host(head, minor, fields)
        if message.expects_continue:
            head.headers.append((EXPECT, b"100-continue"))
        if fields.upgrade and b"upgrade" in fields.connection:
            take_upgrade(message, fields.upgrade)
        return message

    def _check_framing(self, method: bytes, minor: int, fields: Fields) -> bool:
        """Whether the body is chunked. llhttp has refused what has both a length and a coding."""
        coding = fields.transfer_encoding
        if method == b"CONNECT" and (coding or fields.content_length):
            raise Fault(400, "malformed-head", "a CONNECT has no body")
        if not coding:
            return False
        if minor == 0:
            raise Fault(400, "malformed-head", "HTTP/1.0 has no transfer-encoding")
        if coding != b"chunked":
            raise Fault(501, "unknown-coding", "the only transfer coding spoken here is chunked")
        return True

    def _expects_continue(self, minor: int, chunked: bool, fields: Fields) -> bool:
        """RFC 9110 section 10.1.1: it means nothing to HTTP/1.0, nor where there is no body."""
        if fields.expect != b"100-continue":
            raise Fault(417, "unknown-expectation", "the only expectation known is 100-continue")
        return minor == 1 and (chunked or bool(fields.content_length))

    def _parse_target(self, method: bytes, target: bytes, fields: Fields) -> RequestHead:
        """The four forms of RFC 9112 section 3.2."""
        if method == b"CONNECT":
            if not _HOST_AND_PORT.fullmatch(target):
                raise Fault(400, "malformed-target", "a CONNECT names host:port")
            return RequestHead(method, b"", target, b"", fields.headers)
        authority = fields.hosts[0] if fields.hosts else b""
        scheme = self._scheme
        path = target
        if target[:1] != b"/" and target != b"*":
            absolute = _ABSOLUTE.fullmatch(target)
            if absolute is None:
                raise Fault(400, "malformed-target", "the target is neither a path nor an http URI")
            # The target wins over Host (RFC 9112 section 3.2.2).
            scheme, authority, path = absolute[1].lower(), absolute[2], absolute[3] or b""
            if path[:1] != b"/":
                path = b"*" if method == b"OPTIONS" and not path else b"/" + path
        # `in` would first take what is looked for as a number.
        if path.find(b"#") >= 0 or (path == b"*" and method != b"OPTIONS"):
            raise Fault(400, "malformed-target", "the target has a fragment, or is * without OPTIONS")
        return RequestHead(method, scheme, authority, path, fields.headers)

    def _check_host(self, head: RequestHead, minor: int, fields: Fields) -> None:
        """RFC 9112 section 3.2: exactly one Host, except that HTTP/1.0 need not have one."""
        if len(fields.hosts) > 1 or (minor == 1 and not fields.hosts):
            raise Fault(400, "malformed-host", "a request has exactly one host field")
        if not all(map(_HOST.fullmatch, {head.authority, *fields.hosts})):
            raise Fault(400, "malformed-host", "the host is not a host and a port")
