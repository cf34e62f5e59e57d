"""gRPC's frames and status fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.etcd.errors import GrpcStatus, RpcError
from federation.etcd.framing import (
    MAX_MESSAGE_BYTES,
    MessageReader,
    check_answer_head,
    encode_message,
    encode_timeout,
    status_from_fields,
)


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 13))
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[bytes], step: int) -> None:
    """DATA frames and messages have nothing to do with each other."""
    reader = MessageReader()
    wire = b"".join(map(encode_message, messages))
    found = [message for at in range(0, len(wire), step) for message in reader.feed(wire[at : at + step])]
    assert found == messages


def test_a_compressed_or_oversized_frame_is_refused() -> None:
    """Both before the message has come: neither can be used, and one would fill memory."""
    with pytest.raises(RpcError, match="compressed"):
        MessageReader().feed(b"\1\0\0\0\1")
    with pytest.raises(RpcError, match="smaller pages"):
        MessageReader().feed(b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"))


def test_timeouts_fit_the_field() -> None:
    """At most 8 digits, and never 0: a server would refuse the call unseen."""
    assert encode_timeout(2.5) == b"2500m"
    assert encode_timeout(0.0) == b"1m"
    assert encode_timeout(1e9) == b"99999999m"


@pytest.mark.parametrize("status", [b"", b"-1", b"seven", b"9" * 5000, b"\xff"])
def test_an_unreadable_status_is_an_error_of_its_own(status: bytes) -> None:
    """Trailers are a stranger's bytes."""
    error = status_from_fields([(b"grpc-status", status)])
    assert error is not None
    assert error.status == GrpcStatus.UNKNOWN


def test_status_messages_are_percent_decoded() -> None:
    """gRPC sends messages percent-encoded, and what is not UTF-8 must not raise."""
    assert status_from_fields([(b"grpc-status", b"0")]) is None
    error = status_from_fields([(b"grpc-status", b"14"), (b"grpc-message", b"no%20leader %ff")])
    assert error is not None
    assert (error.status, error.message) == (14, "no leader \ufffd")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b":status", b"200"), (b"content-type", b"application/grpc+proto")], None),
        ([(b":status", b"200"), (b"content-type", b"text/html")], GrpcStatus.UNIMPLEMENTED),
        ([(b":status", b"502"), (b"content-type", b"text/html")], GrpcStatus.UNAVAILABLE),
        ([], GrpcStatus.UNIMPLEMENTED),
    ],
)
def test_what_is_not_grpc_is_told_apart(fields: list[tuple[bytes, bytes]], status: int | None) -> None:
    """A proxy without a server is waited for; a web server in etcd's place is a slip in the configuration."""
    error = check_answer_head(fields)
    assert (error.status if error else None) == status
