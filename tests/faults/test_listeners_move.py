"""A running gateway gets other addresses under load: SIGHUP with another `mesh`, `http` or `advertise`."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from discovery.address import parse_host_port
from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Gateway, Site, open_fault_lab
from tests.fault_rig.explained import explained
from tests.fault_rig.forwarder import Forwarder
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    """The service runs in west alone: without a tunnel, east would have to refuse."""
    with open_fault_lab(tmp_path_factory.mktemp("lab"), Site("east"), Site("west", {"payments": 1})) as lab:
        yield lab


def reload(gateway: Gateway, key: str, value: str) -> None:
    """Gives a key of the section `gateway` another value."""
    text = gateway.config_path.read_text()
    changed = re.sub(rf"{key}: [^,}}]+", f"{key}: {value}", text, count=1)
    if changed == text:
        changed = text.replace("{workers: 1,", f"{{workers: 1, {key}: {value},", 1)
    gateway.config_path.write_text(changed)
    os.kill(gateway.group.pid("gateway"), signal.SIGHUP)


def test_the_mesh_listener_moves(lab: FaultLab) -> None:
    """Peers hear of the new address and change over; what is under way at the old one ends in its own time."""
    west, at = lab["west"].gateways[0], next(lab.ports)
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        began = now()
        reload(west, "mesh", f"'{LOOPBACK}:{at}'")
        wait_until(lambda: west.addresses.mesh == f"{LOOPBACK}:{at}", "west says where it listens now")
        wait_until(lambda: _tunnel_addresses(lab) == {f"{LOOPBACK}:{at}"}, "east's tunnels go there", timeout_s=30)
        load.wait_more(30)
        for kind in ("get", "post"):
            account = load.account(kind, since=began)
            print(account)
            assert account.failed == 0


def test_what_is_advertised_changes(lab: FaultLab) -> None:
    """Another way to the same listener."""
    west = lab["west"].gateways[0]
    with Forwarder((LOOPBACK, 0), west.addresses.mesh) as way, Load(lab.plan()) as load:
        load.wait_served_by("west")
        began = now()
        reload(west, "advertise", f"['{way.address}']")
        wait_until(lambda: way.open, "east's tunnels go the other way", timeout_s=30)
        wait_until(lambda: _tunnel_addresses(lab) == {way.address}, "all of them", timeout_s=30)
        load.wait_more(30)
        assert load.account(since=began).failed == 0
        reload(west, "advertise", f"['{west.addresses.mesh}']")
        wait_until(lambda: not way.open, "and back", timeout_s=30)
        load.wait_more(30)
        assert load.account(since=began).failed == 0


def test_the_local_listener_moves(lab: FaultLab) -> None:
    """Clients that are connected stay connected; new ones find the new address, and nobody at the old one."""
    east, at = lab.gateway, next(lab.ports)
    old = parse_host_port(east.addresses.http)
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        began = now()
        reload(east, "http", f"{LOOPBACK}:{at}")
        wait_until(lambda: east.addresses.http == f"{LOOPBACK}:{at}", "east says where it listens now")
        with Load(lab.plan()) as newcomers:
            newcomers.wait_served_by("west")
            assert newcomers.account().failed == 0
        wait_until(lambda: _refuses(old.host, old.port), "nobody listens at the old address")
        load.wait_more(30)
        assert load.account(since=began).failed == 0


def test_a_listener_moves_to_where_it_is_already(lab: FaultLab) -> None:
    """From one address to all of them on the same port, and back: nobody is refused in between, here or in west."""
    east, west = lab.gateway, lab["west"].gateways[0]
    http_port, mesh_port = next(lab.ports), next(lab.ports)
    move(east, "http", f"{LOOPBACK}:{http_port}")
    move(west, "mesh", f"{LOOPBACK}:{mesh_port}")
    reload(west, "advertise", f"['{LOOPBACK}:{mesh_port}']")
    wait_until(lambda: _tunnel_addresses(lab) == {f"{LOOPBACK}:{mesh_port}"}, "east's tunnels go there", timeout_s=30)
    with Load(lab.plan()) as load, Newcomers(http_port, lab.plan().authority) as newcomers:
        load.wait_served_by("west")
        for host in ("0.0.0.0", LOOPBACK):
            move(east, "http", f"{host}:{http_port}")
            move(west, "mesh", f"{host}:{mesh_port}")
            load.wait_more(30)
            newcomers.wait_more(30)
        assert load.account().failed == 0
        assert newcomers.problems == []


def test_the_mesh_listener_goes_and_comes(lab: FaultLab) -> None:
    """Without `mesh` nobody is let in any more, and tunnels that are open end; with it again, all is as before."""
    west = lab["west"].gateways[0]
    good, old = west.config_path.read_text(), parse_host_port(west.addresses.mesh)
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        text = re.sub(r"mesh: ['\"][^'\"]*['\"], ", "", good)
        west.config_path.write_text(re.sub(r"advertise: \[[^]]*\], ", "", text))
        os.kill(west.group.pid("gateway"), signal.SIGHUP)
        wait_until(lambda: west.addresses.mesh == "", "west says that it does not listen for peers")
        wait_until(lambda: _refuses(old.host, old.port), "nobody listens there")
        wait_until(lambda: not _tunnel_addresses(lab), "east has no tunnel there", timeout_s=30)
        explained(lab, lambda e: "no tunnel to west is ready" in e.summary)
        load.wait(lambda samples: samples[-1].problem == "no-healthy-upstream", "east refuses by itself")
        west.config_path.write_text(good)
        os.kill(west.group.pid("gateway"), signal.SIGHUP)
        wait_until(lambda: west.addresses.mesh, "west listens again")
        load.wait_served_by("west")


def move(gateway: Gateway, key: str, address: str) -> None:
    """Gives a listener another address, and waits until it has it."""
    reload(gateway, key, f"'{address}'")
    wait_until(lambda: getattr(gateway.addresses, key) == address, f"{key} is at {address}")


class Newcomers(threading.Thread):
    """Clients that open a connection for each request, one after the other."""

    def __init__(self, port: int, authority: str) -> None:
        super().__init__(daemon=True)
        self._port, self._authority = port, authority
        self._stopped = threading.Event()
        self.answered = 0
        self.problems: list[str] = []

    def run(self) -> None:
        while not self._stopped.is_set():
            connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=10)
            try:
                connection.request("GET", "/", headers={"host": self._authority})
                if (status := connection.getresponse().status) != 200:
                    self.problems.append(str(status))
                self.answered += 1
            except (OSError, http.client.HTTPException) as error:
                self.problems.append(repr(error))
            finally:
                connection.close()

    def wait_more(self, number: int) -> None:
        wanted = self.answered + number
        wait_until(lambda: self.answered >= wanted or self.problems, "newcomers are answered", timeout_s=30)

    def __enter__(self) -> Newcomers:
        self.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._stopped.set()
        self.join(15)


def test_an_address_that_is_taken_is_refused(lab: FaultLab) -> None:
    """The old one stays in use, and the status says why, until the file is good again."""
    east = lab.gateway
    good, before = east.config_path.read_text(), east.addresses.http
    with socket.create_server((LOOPBACK, 0)) as taken, Load(lab.plan()) as load:
        at = taken.getsockname()[1]
        load.wait_served_by("west")
        reload(east, "http", f"{LOOPBACK}:{at}")
        wait_until(lambda: f"{LOOPBACK}:{at}: the address is in use" in _problems(east), "the status says why")
        load.wait_more(30)
        assert load.account().failed == 0
        assert east.addresses.http == before
        with Load(lab.plan()) as newcomers:
            newcomers.wait_served_by("west")
        east.config_path.write_text(good)
        wait_until(lambda: not _problems(east), "the problem is gone")


def _tunnel_addresses(lab: FaultLab) -> set[str]:
    """Where east's tunnels to west go, that are ready."""
    (west,) = [peer for peer in lab.gateway.status().peers if peer.cluster == "west"]
    return {tunnel.address for tunnel in west.data.gateways if tunnel.ready}


def _refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return True
    return False


def _problems(gateway: Gateway) -> str:
    return "\n".join(problem.message for problem in gateway.status().problems if problem.kind == "configuration")
