"""The deadline of a gRPC call, as it is written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request.grpc_timeout import format_grpc_timeout, parse_grpc_timeout


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"99999999S", 99999999),
    ],
)
def test_each_unit(written: bytes, seconds: float) -> None:
    assert parse_grpc_timeout(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", [b"", b"1", b"S", b"0m", b"-1S", b"1.5S", b"123456789S", b"1s", b" 1S", b"1S ", b"1SS"]
)
def test_what_is_no_timeout_is_none(written: bytes) -> None:
    """A positive number of at most eight digits and one unit. Anything else is for the endpoint to refuse."""
    assert parse_grpc_timeout(written) is None


@given(st.floats(1e-6, 3e7))
def test_what_is_written_can_be_read_and_is_never_longer(seconds: float) -> None:
    """The next hop must not believe that it has more time than we wait."""
    written = format_grpc_timeout(seconds)
    assert re.fullmatch(rb"[0-9]{1,8}[umS]", written)
    again = parse_grpc_timeout(written)
    assert again is not None
    assert again <= seconds * (1 + 1e-9)
    assert again >= seconds * 0.99 - 1e-6
