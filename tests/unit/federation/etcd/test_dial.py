"""What a failed TLS handshake means for whoever wrote the endpoint."""

from __future__ import annotations

import ssl

import pytest

from federation.etcd.config import EtcdConfig
from federation.etcd.dial import explain_tls

CONFIG = EtcdConfig(endpoints=("https://127.0.0.1:2379",))


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=["it answered in plain words", "it closed before they were read"],
)
def test_a_server_without_tls_is_guessed(error: OSError) -> None:
    """Which of the two it is depends on who is quicker."""
    if isinstance(error, ssl.SSLError):
        error.reason = "WRONG_VERSION_NUMBER"
    assert "write the endpoint as http://" in explain_tls(error, CONFIG)
