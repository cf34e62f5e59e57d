"""Two clusters for tests of roots and revocation, with certificates that live for 10 s: west serves HTTP to east, and
each has a TCP service that sends back what it gets, for the other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from federation.status.trust_values import TrustDocument
from federation.status.values import StatusDocument
from gateway.config.edit import add_peer
from gateway.demo.load import Load
from gateway.demo.waiting import wait_until
from gateway.status.addresses import read_addresses
from tests.etcd_server import EtcdServer
from tests.gateway_ends import wall_clock
from tests.gateway_process import GatewayProcess, gateways
from tests.ports import free_ports
from trust.keyring import Keyring

_TCP_SERVICES = {"west": "ledger", "east": "vault"}
_TCP_PORT = 7000
_RANGES = {"east": "127.81.0.0/16", "west": "127.82.0.0/16"}
"""Both have a virtual IP for every service, on one machine."""
PAYMENTS = "payments.shop.svc.clusterset.local:80"


def document(cluster: GatewayProcess, command: tuple[str, ...], kind: type[msgspec.Struct]) -> msgspec.Struct:
    done = cluster.run(*command, "-o", "json")
    if done.returncode != 0:
        raise OSError(done.stderr)
    return msgspec.json.decode(done.stdout, type=kind)


def trust(cluster: GatewayProcess) -> TrustDocument:
    found = document(cluster, ("trust", "status"), TrustDocument)
    assert isinstance(found, TrustDocument)
    return found


def status(cluster: GatewayProcess) -> StatusDocument:
    found = document(cluster, ("status",), StatusDocument)
    assert isinstance(found, StatusDocument)
    return found


def stage(cluster: GatewayProcess) -> str:
    rotation = trust(cluster).rotation
    assert rotation is not None
    return rotation.stage


def wait_stage(cluster: GatewayProcess, wanted: str, timeout_s: float = 90.0) -> None:
    wait_until(lambda: stage(cluster) == wanted, f"{cluster.name} is {wanted}", timeout_s=timeout_s)


def wait_ready(*clusters: GatewayProcess) -> None:
    """Until each sees its peers ready."""
    for cluster in clusters:

        def ready(cluster: GatewayProcess = cluster) -> bool:
            peers = status(cluster).peers
            return bool(peers) and all(peer.ready for peer in peers)

        wait_until(ready, f"{cluster.name} and its peers are ready", timeout_s=60)


def write_config(cluster: GatewayProcess, root: str, peer: str, trust: str, services: str = "") -> None:
    """`trust` is what that section says."""
    text = add_peer(cluster.config_path.read_text(), peer, f"{peer}.acme.internal", root)
    cluster.config_path.write_text(f"{text}\ntrust: {{{trust}}}\n{services}")


def root_of(cluster: GatewayProcess) -> str:
    """The root that signs now."""
    trust_domain = f"{cluster.name}.acme.internal"
    return Keyring.load_or_create(cluster.state_dir / "trust", trust_domain, wall_clock()).fingerprint


def load_on(cluster: GatewayProcess) -> Load:
    addresses = read_addresses(cluster.state_dir)
    assert addresses is not None
    return Load(addresses.http, PAYMENTS)


def vip(cluster: GatewayProcess, name: str) -> tuple[str, int]:
    """Where clients of `cluster` find a TCP service."""
    done = cluster.run("services", "-o", "json")
    services = (
        {service["name"]: service for service in json.loads(done.stdout)["services"]} if not done.returncode else {}
    )
    assert name in services, f"{cluster.name} knows no {name}"
    return str(services[name]["vip"]), _TCP_PORT


def _tcp_service(name: str, port: int, consumer: str) -> str:
    return f"""\
- namespace: shop
  name: {name}
  ports: [{{name: tcp, port: {_TCP_PORT}, protocol: tcp}}]
  endpoints: [{{address: 127.0.0.1, port: {port}}}]
  export: {{to: [{consumer}]}}
"""


@contextmanager
def east_and_west(
    directory: Path, etcd: EtcdServer, *, svid_lifetime: str = "10s", east_trust: str = "", east_root: str = ""
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """Both run and see each other; west's payments and ledger are exported to east, east's vault to west. East's trust
    may come from elsewhere: `east_trust` is what its section says, `east_root` what west pins then."""
    port, ledger, vault = free_ports(3)
    with gateways(directory, "east", "west") as (east, west):
        for cluster in (east, west):
            cluster.init(etcd.endpoint)
            text = cluster.config_path.read_text()
            cluster.config_path.write_text(re.sub(r"vip_range: \S+", f"vip_range: {_RANGES[cluster.name]}", text))
        own = _tcp_service(_TCP_SERVICES["east"], vault, "west")
        trust = f"svid_lifetime: {svid_lifetime}"
        write_config(east, root_of(west), "west", east_trust or trust, f"services:\n{own}")
        services = f"""\
services:
- namespace: shop
  name: payments
  ports: [{{name: http, port: 80, protocol: http}}]
  endpoints: [{{address: 127.0.0.1, port: {port}}}]
  export: {{to: [east]}}
"""
        services += _tcp_service(_TCP_SERVICES["west"], ledger, "east")
        write_config(west, east_root or root_of(east), "east", trust, services)
        kinds = [f"http:payments:{port}", f"tcp:ledger:{ledger}", f"tcp:vault:{vault}"]
        line = [sys.executable, "-m", "gateway.demo.services", "west", *kinds]
        service = subprocess.Popen(line)
        try:
            east.start()
            west.start()
            wait_ready(east, west)
            with load_on(east) as load:
                wait_until(lambda: load.account().by_cluster.get("west", 0) > 0, "west answers", timeout_s=20)
            yield east, west
        finally:
            service.kill()
            service.wait()
