"""`isthmus upgrade` where every listener has a port of its own, as `isthmus init` writes them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from federation.status.values import StatusDocument
from gateway.status.addresses import read_addresses
from tests.etcd_server import EtcdServer
from tests.gateway_process import GatewayProcess, gateways
from tests.ports import free_port

pytestmark = [pytest.mark.processes, pytest.mark.long]


def status(cluster: GatewayProcess) -> StatusDocument:
    return msgspec.json.decode(cluster.run("status", "-o", "json").stdout, type=StatusDocument)


def test_the_new_program_listens_where_the_old_one_did(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Port 0 everywhere, which most tests have, would hide that an address is still taken."""
    with gateways(tmp_path, "east") as (east,):
        east.init(etcd_server.endpoint)
        text = east.config_path.read_text()
        while "127.0.0.1:0" in text:
            text = text.replace("127.0.0.1:0", f"127.0.0.1:{free_port()}", 1)
        section = f"bundle_endpoint: {{listen: 127.0.0.1:{free_port()}, profile: https_spiffe}}"
        east.config_path.write_text(f"{text}\ntrust: {{{section}}}\n")
        east.start()
        addresses, workers = read_addresses(east.state_dir), {worker.pid for worker in status(east).workers}
        for _ in range(2):
            done = east.run("upgrade")
            assert done.returncode == 0, done.stderr
            assert read_addresses(east.state_dir) == addresses
            assert not workers & {worker.pid for worker in status(east).workers}
            workers = {worker.pid for worker in status(east).workers}
