"""Two gateways with a thin link between them: what is small does not wait for bulk, in either direction, and the bulk
goes on."""

from __future__ import annotations

import http.client
import statistics
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from discovery.address import parse_host_port
from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.waiting import wait_until
from tests.fault_rig.bulk import Download, Transfer, Upload
from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.thin_link import ThinLink
from tests.ports import free_port

pytestmark = [pytest.mark.processes, pytest.mark.long]

LINK_BYTES_PER_S = 500_000
TRANSFERS = 4
BEGUN_BYTES = 300_000
"""More than a window and what the sockets of a client hold: the link is the bottleneck then."""
POSTS = 9
ANSWER_LIMIT_S = 60.0
CARRIED_LIMIT_BYTES = 500_000
"""What the link carries, both ways, while a POST is under way: a measure that a slow machine does not spoil."""


@pytest.fixture(scope="module")
def link() -> Iterator[ThinLink]:
    with ThinLink((LOOPBACK, 0), f"{LOOPBACK}:{free_port()}", LINK_BYTES_PER_S) as link:
        yield link


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, link: ThinLink) -> Iterator[FaultLab]:
    port = int(link.target.rpartition(":")[2])
    services = {"payments": 1, "archive": 1}
    west = Site("west", services, apart=("archive",), mesh_port=port, advertise=link.address)
    with open_fault_lab(tmp_path_factory.mktemp("lab"), Site("east"), west) as lab:
        yield lab


@pytest.mark.parametrize("kind", [Upload, Download])
def test_a_small_request_does_not_wait_for_bulk(lab: FaultLab, link: ThinLink, kind: type[Transfer]) -> None:
    where = parse_host_port(lab.gateway.addresses.http)
    address, authority = (where.host, where.port), lab.plan("archive").authority
    with ExitStack() as stack:
        transfers = [stack.enter_context(kind(address, authority)) for _ in range(TRANSFERS)]
        wait_until(lambda: all(each.moved > BEGUN_BYTES for each in transfers), "bulk fills the link", timeout_s=60)
        carried: list[int] = []
        for _ in range(POSTS):
            before = link.carried
            post(address, lab.plan().authority)
            carried.append(link.carried - before)
        moved = [each.moved for each in transfers]
        print(f"{kind.__name__}: the link carried {sorted(carried)} bytes while a POST was under way")
        assert statistics.median(carried) < CARRIED_LIMIT_BYTES
        wait_until(
            lambda: all(each.moved > before for each, before in zip(transfers, moved, strict=True)),
            "all of the bulk goes on",
            timeout_s=60,
        )
        assert not [each.problem for each in transfers if each.problem]


def post(address: tuple[str, int], authority: str) -> None:
    connection = http.client.HTTPConnection(*address, timeout=ANSWER_LIMIT_S)
    try:
        connection.request("POST", "/", body=bytes(2_000), headers={"host": authority})
        response = connection.getresponse()
        response.read()
        assert response.status == 200
    finally:
        connection.close()
