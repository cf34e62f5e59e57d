"""A gateway whose CA is the operator's, as whole processes: it is believed, and a renewal costs no connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from federation.status.values import StatusDocument
from gateway.demo.mesh_client import gateway_svid, svid_context
from gateway.demo.waiting import wait_until
from gateway.status.addresses import read_addresses
from tests.ca_directory import p384, sub_ca, write_ca
from tests.etcd_server import EtcdServer
from tests.forge import Forge, p256
from tests.gateway_process import GatewayProcess, gateways
from trust.authority import Authority
from trust.contexts import peer_chain
from trust.fingerprint import fingerprint_of

pytestmark = [pytest.mark.processes, pytest.mark.long]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_PING = bytes((0, 0, 8, 6, 0, 0, 0, 0, 0))
_PONG = bytes((0, 0, 8, 6, 1, 0, 0, 0, 0))


def status(cluster: GatewayProcess) -> StatusDocument:
    done = cluster.run("status", "-o", "json")
    if done.returncode != 0:
        raise OSError(done.stderr)
    return msgspec.json.decode(done.stdout, type=StatusDocument)


def wait_linked(*clusters: GatewayProcess) -> None:
    def linked() -> bool:
        return all(peer.ready for cluster in clusters for peer in status(cluster).peers)

    wait_until(linked, "both see each other", timeout_s=20)


def add(cluster: GatewayProcess, text: str) -> None:
    cluster.config_path.write_text(cluster.config_path.read_text() + text)


def peers(name: str, root: str) -> str:
    return f'\npeers:\n  {name}: {{trust_domain: {name}.acme.internal, root: "{root}"}}\n'


class HeldConnection:
    """A connection to a mesh port, open from before a renewal to after it."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        host, _, port = address.rpartition(":")
        self._tls = context.wrap_socket(socket.create_connection((host, int(port)), timeout=10))
        self._tls.sendall(_PREFACE)
        self._count = 0

    @property
    def chain(self) -> list[bytes]:
        """What the gateway showed."""
        return peer_chain(self._tls)

    def close(self) -> None:
        self._tls.close()

    def answers(self) -> bool:
        self._count += 1
        payload = self._count.to_bytes(8, "big")
        self._tls.sendall(_PING + payload)
        received = b""
        while _PONG + payload not in received:
            chunk = self._tls.recv(4096)
            if not chunk:
                return False
            received += chunk
        return True


def test_an_operators_ca_and_its_renewal(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """East's CA lies in files, west's root is its own; each pins the other's. The intermediate is renewed, and the same
    connection goes on; a spoiled renewal is named in status, and both stay linked."""
    now = datetime.now(UTC)
    root = Forge.root("acme root", not_before=now - timedelta(days=1), not_after=now + timedelta(days=365))
    with gateways(tmp_path, "east", "west") as (east, west):
        east.init(etcd_server.endpoint)
        west.init(etcd_server.endpoint)
        own = Authority.load_or_create(west.state_dir / "trust", "west.acme.internal", now)
        directory = write_ca(east.directory / "ca", sub_ca(root, p384(), now=now), [root])
        add(east, f"trust: {{ca_dir: ca}}\n{peers('west', own.fingerprint)}")
        add(west, peers("east", fingerprint_of(root.der)))
        east.start()
        west.start()
        wait_linked(east, west)
        assert status(east).root == fingerprint_of(root.der)

        mesh = read_addresses(east.state_dir)
        assert mesh is not None
        context = svid_context(gateway_svid(own), root.der)
        with contextlib.closing(HeldConnection(mesh.mesh, context)) as held:
            assert held.answers()
            write_ca(directory, sub_ca(root, p256(), now=now), [root])
            wait_until(lambda: "took the renewed" in east.log, "the renewed CA is taken", timeout_s=10)
            assert held.answers()

            write_ca(directory, sub_ca(Forge.root("other"), p256(), now=now), [root])
            wait_until(_problem(east, "unknown-authority"), "status names the bad renewal", timeout_s=10)
            assert held.answers()
            wait_linked(east, west)
            write_ca(directory, sub_ca(root, p256(), now=now), [root])
            wait_until(lambda: not _problem(east, "")(), "nothing is wrong any more", timeout_s=10)


def _problem(cluster: GatewayProcess, code: str) -> Callable[[], bool]:
    def shown() -> bool:
        return any(problem.kind == "trust" and code in problem.message for problem in status(cluster).problems)

    return shown
