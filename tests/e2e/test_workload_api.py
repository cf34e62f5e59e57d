"""A gateway whose identity a SPIFFE agent gives, as whole processes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.demo.mesh_client import gateway_svid, svid_context, try_mesh
from gateway.demo.waiting import wait_until
from gateway.status.addresses import read_addresses
from tests.e2e.test_ca_files import HeldConnection, add, peers, status, wait_linked
from tests.etcd_server import EtcdServer
from tests.gateway_process import gateways
from tests.workload_agent import agent_thread, both
from trust.authority import Authority

pytestmark = [pytest.mark.processes, pytest.mark.long]

EAST = "east.acme.internal"


def test_spire_in_east_and_an_own_root_in_west(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Each pins the other's root. A renewal reaches the workers and costs no connection; an agent that refuses is
    named, and the gateways stay linked; no key of the agent's is on disk or in the log."""
    spire = Authority.load_or_create(tmp_path / "spire", EAST, datetime.now(UTC))
    first, second = both(spire), both(spire)
    socket = tmp_path / "agent.sock"
    with agent_thread(socket, first) as agent, gateways(tmp_path, "east", "west") as (east, west):
        east.init(etcd_server.endpoint)
        west.init(etcd_server.endpoint)
        own = Authority.load_or_create(west.state_dir / "trust", "west.acme.internal", datetime.now(UTC))
        add(east, f'trust: {{workload_api: "unix://{socket}"}}\n{peers("west", own.fingerprint)}')
        add(west, peers("east", spire.fingerprint))
        east.start()
        west.start()
        wait_linked(east, west)
        assert status(east).root == spire.fingerprint
        assert west.run("status").returncode == 0

        mesh = read_addresses(east.state_dir)
        assert mesh is not None
        context = svid_context(gateway_svid(own), spire.root_der)
        held = HeldConnection(mesh.mesh, context)
        try:
            assert held.answers()
            assert held.chain == [first.svids[0].x509_svid]
            agent(lambda agent: agent.give(second))
            wait_until(lambda: shown(mesh.mesh, own, spire) == [second.svids[0].x509_svid], "the renewed SVID is shown")
            assert held.answers()
            agent(lambda agent: agent.deny("no identity issued"))
            wait_until(
                lambda: any(p.kind == "trust" and "no identity issued" in p.message for p in status(east).problems),
                "status names the refusal",
            )
            assert held.answers()
            wait_linked(east, west)
        finally:
            held.close()
        assert try_mesh(mesh.mesh, context).refused == ""
        for path in [*east.directory.rglob("*")]:
            if path.is_file() and not path.is_relative_to(east.directory / "etcd"):
                for svid in (*first.svids, *second.svids):
                    # The secret number itself, wherever it is encoded as bytes.
                    assert svid.x509_svid_key[36:68] not in path.read_bytes(), path


def shown(address: str, own: Authority, spire: Authority) -> list[bytes]:
    """The chain that east shows a new connection."""
    held = HeldConnection(address, svid_context(gateway_svid(own), spire.root_der))
    try:
        return held.chain
    finally:
        held.close()
