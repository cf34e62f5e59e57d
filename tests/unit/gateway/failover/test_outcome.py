"""What health is judged by."""

from __future__ import annotations

from gateway.failover.outcome import http_status_of_grpc


def test_grpc_statuses_mean_what_envoy_takes_them_for() -> None:
    """A caller's mistake must not eject anybody; what the server failed at must."""
    caller, server = (b"1", b"3", b"5", b"6", b"7", b"8", b"9", b"10", b"11", b"16"), (b"2", b"13", b"14", b"15")
    assert all(http_status_of_grpc(code, 200) < 500 for code in caller)
    assert all(http_status_of_grpc(code, 200) >= 500 for code in server)
    assert http_status_of_grpc(b"4", 200) == 504


def test_an_unknown_grpc_status_leaves_the_http_status() -> None:
    """A gateway in between answers without one."""
    assert http_status_of_grpc(b"", 502) == 502
    assert http_status_of_grpc(b"77", 200) == 200
