"""Certificates that live for seconds are renewed again and again, and nobody notices: whole gateways, a real etcd."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo.waiting import wait_until
from tests.echo_stream import EchoStream
from tests.etcd_server import EtcdServer
from tests.gateway_process import GatewayProcess
from tests.rotating import east_and_west, load_on, status, vip

pytestmark = [pytest.mark.processes, pytest.mark.long]

RENEWALS = 4


def serials(cluster: GatewayProcess) -> set[str]:
    """Of the certificates at the other end of this cluster's tunnels."""
    return {serial for peer in status(cluster).peers for serial in peer.data.serials}


def test_renewals_drop_no_connection(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """One TCP stream each way outlives every certificate that it began under, and no request of a steady load fails,
    while tunnels are seen to move to new certificates several times."""
    with east_and_west(tmp_path, etcd_server, svid_lifetime="10s") as (east, west):
        with EchoStream(vip(east, "ledger")) as there, EchoStream(vip(west, "vault")) as back, load_on(east) as load:
            seen = serials(east)
            for number in range(RENEWALS):
                wait_until(lambda seen=seen: serials(east) - seen, f"renewal {number + 1}", timeout_s=60)  # type: ignore[misc]
                seen |= serials(east)
            told = (there.echoed, back.echoed)
            wait_until(lambda: there.echoed > told[0] + 20 and back.echoed > told[1] + 20, "both streams go on")
            account = load.stop()
        assert account.failures == ()
        assert (there.ended_at, back.ended_at) == (None, None)
