"""The key that proves a WebSocket handshake over HTTP/1.1 was understood (RFC 6455 section 4)."""

from __future__ import annotations

import base64
import hashlib
import random
import re
from typing import Final

WEBSOCKET: Final = b"websocket"
KEY_FIELD: Final = b"sec-websocket-key"
ACCEPT_FIELD: Final = b"sec-websocket-accept"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# 16 bytes in base64: the last digit before the padding holds two bits only.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")


def new_key(rng: random.Random) -> bytes:
    return base64.b64encode(rng.randbytes(16))


def is_key(key: bytes) -> bool:
    return _KEY.fullmatch(key) is not None


def accept_for(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
