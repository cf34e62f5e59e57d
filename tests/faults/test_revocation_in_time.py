"""How soon a revocation closes what rests on it, in both directions: whole gateways over a real etcd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.demo.waiting import seconds, wait_until
from tests.echo_stream import EchoStream
from tests.etcd_server import EtcdServer
from tests.gateway_process import GatewayProcess
from tests.rotating import east_and_west, root_of, status, vip, wait_ready

pytestmark = [pytest.mark.processes, pytest.mark.long]

WITHIN_S = 2.0
"""The one time that is asserted anywhere: an emergency is over when the last connection is closed, not some day."""


@contextmanager
def streams_both_ways(east: GatewayProcess, west: GatewayProcess) -> Iterator[tuple[EchoStream, EchoStream]]:
    """One over a tunnel from east to west, one over a tunnel from west to east."""
    with EchoStream(vip(east, "ledger")) as to_west, EchoStream(vip(west, "vault")) as from_west:
        wait_until(lambda: to_west.echoed > 20 and from_west.echoed > 20, "both talk")
        yield to_west, from_west


def revoke_and_time(west: GatewayProcess, kind: str, subject: str, streams: tuple[EchoStream, ...]) -> list[float]:
    """Seconds from the order to the end of each stream."""
    began = seconds()
    done = west.run("trust", "revoke", kind, subject)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: all(stream.ended_at is not None for stream in streams), "every stream is cut", timeout_s=30)
    return [stream.ended_at - began for stream in streams if stream.ended_at is not None]


def test_a_root_that_is_revoked_closes_everything_that_rests_on_it(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Tunnels to its cluster and those from it, with what runs on them; both sides then go on under the next root."""
    with east_and_west(tmp_path, etcd_server, svid_lifetime="10m") as (east, west):
        with streams_both_ways(east, west) as streams:
            took = revoke_and_time(west, "root", root_of(west), streams)
        print(f"to west {took[0]:.2f} s, from west {took[1]:.2f} s")
        assert max(took) < WITHIN_S
        wait_ready(east, west)
        with streams_both_ways(east, west):
            pass


def test_a_gateway_that_is_revoked_is_closed_to_and_from(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """This one is there to go on: its former certificates are worth nothing, on tunnels to it and from it."""
    with east_and_west(tmp_path, etcd_server, svid_lifetime="10m") as (east, west):
        (gateway,) = (gateway.id for peer in status(east).peers for gateway in peer.control.gateways)
        with streams_both_ways(east, west) as streams:
            took = revoke_and_time(west, "gateway", gateway, streams)
        print(f"to west {took[0]:.2f} s, from west {took[1]:.2f} s")
        assert max(took) < WITHIN_S
        wait_ready(east, west)
        with streams_both_ways(east, west):
            pass
