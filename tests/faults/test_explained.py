"""After each fault a person asks why requests went elsewhere, and the first line says it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained, told
from tests.fault_rig.load import Load

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    sites = Site("east", {"payments": 3}, failover=("west",)), Site("west", {"payments": 2})
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


def test_peers_09_every_fault_is_explained(lab: FaultLab) -> None:
    """Own endpoints that are well, that answer 500, that are gone; then the other cluster gone too; then all back. With
    a load, since ejection goes by what requests see."""
    with Load(lab.plan(post_clients=0)) as load:
        load.wait_served_by("east")
        well = explained(lab, lambda e: e.summary == "east gets 100 %: own zone")
        assert [(place.cluster, place.healthy, place.total) for place in well.places] == [
            ("east", 3, 3),
            ("west", 2, 2),
        ]
        assert [place.next_share for place in well.places] == [0.0, 1.0]

        lab["east"].tell("payments", 0, status=500)
        ejected = explained(lab, lambda e: bool(e.ejections))
        (port, *_) = lab["east"].endpoint_ports["payments"]
        [ejection] = [e for e in ejected.ejections if e.where == f"127.0.0.1:{port}"]
        assert ejection.cause == "consecutive-5xx"
        assert ejection.for_s > 0
        lab["east"].tell("payments", 0, status=200)

        lab["east"].endpoints.kill()
        gone = explained(lab, lambda e: e.summary.startswith("west gets 100 %: east has 0 of 3 healthy"))
        assert re.search(r"\(http check refused since \d+ s\)$", gone.summary), gone.summary
        assert {endpoint.reason for endpoint in gone.endpoints} == {"refused"}
        load.wait_served_by("west")

        lab["west"].kill()
        refused = explained(lab, lambda e: "no tunnel to west" in e.summary)
        assert refused.summary.startswith(
            "nothing gets it, requests are refused: east has 0 of 3 healthy (http check refused since "
        )

        lab["east"].endpoints.start()
        explained(lab, lambda e: e.summary == "east gets 100 %: own zone")
        wanted = ("ejected", "endpoint-unhealthy", "failed-over", "exhausted", "endpoint-healthy", "recovered")
        told(lab, *wanted)


def test_peers_09_requests_of_a_peer_are_explained(lab: FaultLab) -> None:
    """They go to local endpoints or nowhere, whatever else there is."""
    said = explained(lab, lambda e: bool(e.places), query="?from=west")
    assert (said.from_cluster, {place.cluster for place in said.places}) == ("west", {"east"})
