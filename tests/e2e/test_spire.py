"""Real SPIRE: its agent gives a gateway's SVID and bundle, as docs/operations.md says how. It is used where it is
installed, as `spire-server` and `spire-agent` on PATH."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.demo.waiting import wait_until
from tests.echo_stream import EchoStream
from tests.etcd_server import EtcdServer
from tests.gateway_process import GatewayProcess
from tests.rotating import east_and_west, load_on, status, vip, wait_ready
from tests.spire import AGENT, SERVER, Spire, spire
from trust.spiffe_id import controller_id, gateway_id

pytestmark = [
    pytest.mark.processes,
    pytest.mark.long,
    pytest.mark.skipif(SERVER is None or AGENT is None, reason="spire-server and spire-agent are not installed"),
]

EAST = "east.acme.internal"
RENEWALS = 5
"""SVIDs begin 10 s before they are issued, end 20 s after, renewed after 5: by the last, the first has ended."""


@pytest.fixture
def agent() -> Iterator[Spire]:
    # The path of a Unix socket has room for a hundred characters.
    with tempfile.TemporaryDirectory(prefix="spire-") as directory, spire(Path(directory), EAST, svid_ttl="20s") as run:
        yield run


def serials(cluster: GatewayProcess) -> set[str]:
    """Of the certificates at the other end of this cluster's tunnels."""
    return {serial for peer in status(cluster).peers for serial in peer.data.serials}


def trust_problem(cluster: GatewayProcess) -> str:
    return "".join(problem.message for problem in status(cluster).problems if problem.kind == "trust")


def test_spire_gives_svid_and_bundle(tmp_path: Path, etcd_server: EtcdServer, agent: Spire) -> None:
    """West pins SPIRE's root, and both talk. Renewals until the first SVID has ended, and another agent in the place of
    the first, cut no stream and fail no request; an entry that is removed is named."""
    entries = [agent.register(identity(EAST)) for identity in (gateway_id, controller_id)]
    source = f"workload_api: unix://{agent.agent_socket}"
    with east_and_west(tmp_path, etcd_server, svid_lifetime="1h", east_trust=source, east_root=agent.root) as ends:
        east, west = ends
        assert status(east).root == agent.root
        assert trust_problem(east) == trust_problem(west) == "", "a root that lives for a day is no alarm"
        with EchoStream(vip(east, "ledger")) as there, EchoStream(vip(west, "vault")) as back, load_on(east) as load:
            seen = serials(west)
            for number in range(RENEWALS):
                wait_until(lambda seen=seen: serials(west) - seen, f"renewal {number + 1}", timeout_s=60)  # type: ignore[misc]
                seen |= serials(west)
            agent.stop("agent")
            wait_until(lambda: "no agent can be reached" in trust_problem(east), "the agent's end is named")
            agent.start_agent()
            wait_until(lambda: trust_problem(east) == "", "the new agent is followed", timeout_s=60)
            wait_until(lambda: serials(west) - seen, "another renewal", timeout_s=60)
            told = (there.echoed, back.echoed)
            wait_until(lambda: there.echoed > told[0] + 20 and back.echoed > told[1] + 20, "both streams go on")
            account = load.stop()
        assert account.failures == ()
        assert (there.ended_at, back.ended_at) == (None, None)
        wait_ready(east, west)
        agent.unregister(entries[0])
        wait_until(lambda: str(gateway_id(EAST)) in trust_problem(east), "the missing entry is named", timeout_s=60)
        agent.unregister(entries[1])
        wait_until(lambda: "no registration entry" in trust_problem(east), "no identity at all is named", timeout_s=60)
