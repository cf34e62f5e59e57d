"""The endpoints behind the gateways, and our TCP load against them: both sides of the figures that are ours alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.controller.loopback_ports import LOOPBACK
from tests.bench.rig import endpoint_server
from tests.bench.rig.check import check_grpc
from tests.bench.rig.contender import BenchError, Contender, Entrance
from tests.bench.rig.endpoints import wait_listening
from tests.bench.rig.idle_clients import idle_connections
from tests.bench.rig.tcp_load import check_tcp, connect_again_and_again, download, upload
from tests.ports import free_port


@contextmanager
def serving(kind: str) -> Iterator[tuple[str, int]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, str(endpoint_server.__file__), kind, str(port)])
    try:
        wait_listening(LOOPBACK, port)
        yield LOOPBACK, port
        assert process.poll() is None, "the endpoint has ended"
    finally:
        process.kill()
        process.wait()


def test_http_answers_each_request_of_a_connection() -> None:
    with serving("http") as address, idle_connections(address, "bench.test", 20):
        pass


def test_grpc_answers_with_a_message_and_a_status() -> None:
    with serving("grpc") as address:
        check_grpc(Contender("endpoint", "1", {Entrance.GRPC: address}, dict))


def test_tcp_moves_bytes_both_ways() -> None:
    """Counted at both ends: a byte that is lost raises."""
    with serving("tcp") as address:
        check_tcp(address)
        assert download(address, 4, 0.05).count > 1_000_000
        assert upload(address, 4, 0.05).count > 1_000_000
        made = connect_again_and_again(address, 4, 0.05)
        assert made.count > 10
        assert made.per_s == pytest.approx(made.count / made.elapsed_s)


def test_a_load_without_an_endpoint_says_so() -> None:
    port = free_port()
    with pytest.raises(BenchError, match="can't be connected to"):
        download((LOOPBACK, port), 1, 0.05)


def test_an_answer_that_is_no_grpc_call_is_refused() -> None:
    """What does not speak HTTP/2 is named, not raised through."""
    with serving("tcp") as address, pytest.raises(BenchError, match="a gRPC call through endpoint failed"):
        check_grpc(Contender("endpoint", "1", {Entrance.GRPC: address}, dict))
