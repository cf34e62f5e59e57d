"""`grpc-timeout`: how long a gRPC client waits for its call (gRPC over HTTP/2, "Timeout"). Pure."""

from __future__ import annotations

import re
from typing import Final

_FORM: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_DIGITS: Final = 99_999_999


def parse_grpc_timeout(value: bytes) -> float | None:
    """Seconds; None for what is no timeout: it is then the endpoint's to refuse.

    >>> parse_grpc_timeout(b"250m"), parse_grpc_timeout(b"2 s"), parse_grpc_timeout(b"0S")
    (0.25, None, None)
    """
    found = _FORM.fullmatch(value)
    amount = int(found[1]) if found is not None else 0
    return amount * _UNITS_S[found[2]] if found is not None and amount else None


def format_grpc_timeout(timeout_s: float) -> bytes:
    """The same in the finest unit in which at most eight digits hold it, rounded down: the next hop may not believe
    that it has longer than we wait. At least a microsecond, as the form knows no zero.

    >>> format_grpc_timeout(0.25), format_grpc_timeout(7200.0)
    (b'250000u', b'7200000m')
    """
    for unit in (b"u", b"m", b"S"):
        amount = int(timeout_s / _UNITS_S[unit])
        if amount <= _DIGITS:
            break
    return b"%d%b" % (max(1, min(amount, _DIGITS)), unit)
