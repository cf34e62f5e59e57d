"""What the API shows of a real controller: one whose workers and etcd are not there yet, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio
from prometheus_client.exposition import generate_latest

from discovery.model import Endpoint, LocalService, Port, Protocol, ServiceName
from gateway.config import load_config
from gateway.controller.controller import Controller
from gateway.status.addresses import Addresses, read_addresses
from gateway.status.server import write_addresses
from gateway.status.source import SERVICES_PER_PAGE, ControllerStatus

_CONFIG = """
federation: acme
cluster: {name: east, region: us-east, trust_domain: east.acme.test}
gateway: {workers: 2}
peers: {west: {trust_domain: west.acme.test, root: "sha256:%s"}}
services:
- {namespace: shop, name: cart, ports: [{name: http, port: 18080}], endpoints: [{address: 127.0.0.1, port: 9}],
   export: {to: [west]}}
"""


@pytest.fixture
async def controller(tmp_path: Path) -> AsyncIterator[Controller]:
    """Made, and not started."""
    path = tmp_path / "cluster.yaml"
    path.write_text(_CONFIG % ("ab" * 32))
    made = Controller(load_config(path), path)
    yield made
    made.listeners.close_all()


async def test_a_gateway_that_has_just_begun(controller: Controller) -> None:
    """Every document can be asked for before anything is known, and says so."""
    source = ControllerStatus(controller)
    status = source.status()
    assert (status.ready, status.not_ready_because) == (False, ("no worker has reported yet",))
    assert (status.cluster, status.region, status.workers_wanted, status.workers) == ("east", "us-east", 2, ())
    assert (status.etcd.connected, status.etcd.private) == (False, True)
    assert [(peer.cluster, peer.ready) for peer in status.peers] == [("west", False)]
    assert {problem.kind for problem in status.problems} == {"worker", "etcd", "peer"}
    assert source.readiness().ready is False
    (west,) = source.clusters().clusters
    assert (west.cluster, west.ready) == ("west", False)
    found = source.cluster("west")
    assert found is not None
    assert found.problem == west.problem
    assert source.cluster("mars") is None


async def test_many_services_do_not_hold_the_loop(controller: Controller) -> None:
    """Between two pages everybody else gets a turn, and in the end all services were there, in order."""
    source, turns, ended = ControllerStatus(controller), 0, False

    async def others() -> None:
        nonlocal turns
        while not ended:
            turns += 1
            await trio.lowlevel.checkpoint()

    port = (Port("http", 80, Protocol.HTTP),)
    for number in range(1_000):
        name = ServiceName("shop", f"s{number:05}")
        controller.federation.upsert_local(LocalService(name, port, (Endpoint("127.0.0.1", {"http": 1}),)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        pages = [page async for page in source.services()]
        ended = True
    assert max(map(len, pages)) == SERVICES_PER_PAGE
    assert turns >= len(pages) - 1
    assert len(pages) == 1_000 / SERVICES_PER_PAGE
    names = [service.name for page in pages for service in page]
    assert names == sorted(names)
    assert len({*names}) == 1_000


async def test_a_local_service_is_shown(controller: Controller) -> None:
    """As soon as it is known to the federation: with its export, its endpoint and its zone."""
    source = ControllerStatus(controller)
    assert source.service(ServiceName("shop", "cart")) is None
    for service in controller.config.local_services():
        controller.federation.upsert_local(service)
        controller.services.health.upsert(service)
    document = source.service(ServiceName("shop", "cart"))
    assert document is not None
    assert document.exported_to == ("west",)
    assert [share.cluster for share in document.clusters] == ["east"]
    assert [endpoint.address for endpoint in document.endpoints] == ["127.0.0.1"]
    assert [page async for page in source.services()] == [(document,)]
    assert source.status().services.exported == 1


async def test_trust_shows_what_others_pin_and_nothing_secret(controller: Controller, tmp_path: Path) -> None:
    """The fingerprint is the CA's own; keys stay where they are."""
    trust = ControllerStatus(controller).trust()
    assert trust.root.fingerprint == controller.authority.fingerprint
    assert trust.root.not_before < trust.root.not_after
    assert trust.gateway_id == "spiffe://east.acme.test/ns/isthmus-system/sa/isthmus-gateway"
    assert [(peer.cluster, peer.pinned_root, peer.roots) for peer in trust.peers] == [
        ("west", "sha256:" + "ab" * 32, ())
    ]
    text = msgspec.json.encode(trust).decode()
    for name in ("ca.key", "record.key"):
        secret = (tmp_path / "state" / "east" / "trust" / name).read_text().splitlines()[1]
        assert secret not in text


async def test_metrics_can_be_scraped_from_the_beginning(controller: Controller) -> None:
    """The first scrape comes when it comes."""
    text = generate_latest(ControllerStatus(controller)).decode()
    assert 'isthmus_workers{state="wanted"} 2.0' in text
    assert 'isthmus_process_cpu_seconds_total{process="controller"}' in text


async def test_a_refused_reload_is_shown_line_by_line(controller: Controller, tmp_path: Path) -> None:
    """The old configuration stays, and a person sees why."""
    (tmp_path / "cluster.yaml").write_text("federation: acme\ngatway: {}\n")
    controller.reloading.reload()
    problems = [p.message for p in ControllerStatus(controller).status().problems if p.kind == "configuration"]
    assert any("unknown key" in message for message in problems)
    assert any("cluster" in message for message in problems)


async def test_addresses_are_written_for_programs(controller: Controller, tmp_path: Path) -> None:
    """What does not listen has no address; the file is read back, and another one is not mistaken for it."""
    write_addresses(tmp_path, controller, "127.0.0.1:15000")
    assert read_addresses(tmp_path) == Addresses(mesh="", http="", dns="", status="127.0.0.1:15000")
    written = (tmp_path / "listeners.json").stat()
    write_addresses(tmp_path, controller, "127.0.0.1:15000")
    assert (tmp_path / "listeners.json").stat().st_ino == written.st_ino, "what is there already is not written again"
    (tmp_path / "listeners.json").write_text("[]")
    assert read_addresses(tmp_path) is None
    assert read_addresses(tmp_path / "nowhere") is None
