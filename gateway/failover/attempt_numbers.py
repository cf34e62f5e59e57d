"""Which attempt of a request it is, over both gateways. Pure.

Two gateways carry a request between clusters, and either may try again. They share one count: the caller's gateway
gives the other one a part of the attempts that are left (`allotment`), in `isthmus-attempt: 1;last=2`: "this is the
request's first attempt, you may go on to its second". When the other gateway has failed it says in `isthmus-attempt`
which attempt was its last, and the caller goes on from there; what is lost with a connection counts as used.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MOST_ATTEMPTS: Final = 100
"""A peer's numbers above this are none."""

# Nearly all requests say the same. What is longer than a value can be is not looked at, nor kept.
_REMEMBERED: Final = 256
_VALUE_BYTES: Final = 32
_ATTEMPT: Final = re.compile(rb"([0-9]{1,3})(?:; *last=([0-9]{1,3}))?")


def allotment(made: int, limit: int) -> int:
    """How many attempts the next gateway may make of those that are left, this one among them. The first one may try a
    second endpoint; later ones try one each, as so much has failed by then that another place is the better bet.

    >>> allotment(0, 5), allotment(2, 5), allotment(0, 2)
    (2, 1, 1)
    """
    return 2 if made == 0 and limit > 2 else 1


@lru_cache(maxsize=_REMEMBERED)
def attempt_value(number: int, last: int) -> bytes:
    """`isthmus-attempt` of a request: an integer with a parameter (RFC 8941 section 3.3)."""
    return b"%d;last=%d" % (number, last)


def read_attempt(value: bytes) -> tuple[int, int] | None:
    """The number of an attempt and the number that the request may go on to; None for what is no such value. Without
    `last` it is the attempt's own.

    >>> read_attempt(b"1;last=2"), read_attempt(b"3"), read_attempt(b"3;last=2"), read_attempt(b"0")
    ((1, 2), (3, 3), None, None)
    """
    return _read_attempt(value) if len(value) <= _VALUE_BYTES else None


@lru_cache(maxsize=_REMEMBERED)
def _read_attempt(value: bytes) -> tuple[int, int] | None:
    found = _ATTEMPT.fullmatch(value)
    if found is None:
        return None
    number = int(found[1])
    last = int(found[2]) if found[2] is not None else number
    return (number, last) if 1 <= number <= last <= MOST_ATTEMPTS else None
