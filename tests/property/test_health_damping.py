"""However endpoints flap: etcd sees a bounded number of writes, and in the end the truth. In virtual time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Endpoint, Locality, LocalService, Port, Protocol, ServiceName, ZoneHealth
from federation import paths
from federation.damping import CROSSING_BUDGET, DRIFT_BUDGET
from federation.own_records import OwnRecords
from federation.publication import PutRecord
from federation.settings import FederationSettings
from federation.values import parse_export
from trust.authority import Authority

NAME = ServiceName("shop", "payments")
WALL = 1_750_000_000.0
SERVICE = LocalService(
    NAME,
    (Port("http", 80, Protocol.HTTP),),
    tuple(Endpoint("127.0.0.1", {"http": port}) for port in (1, 2, 3)),
    export_to=("west",),
)

flips = st.lists(st.tuples(st.floats(0.01, 20.0), st.integers(0, 3)), max_size=60)
"""How long until the next change, and how many of three are healthy then."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    directory: FilePath = tmp_path_factory.mktemp("trust")
    return Authority.load_or_create(directory, "east.acme.test", datetime.fromtimestamp(WALL, UTC))


class Publisher:
    """What the driver does: writes what is due, and nothing before."""

    def __init__(self, authority: Authority, state_dir: FilePath) -> None:
        settings = FederationSettings(
            federation="acme",
            cluster="east",
            locality=Locality(),
            prefix="/isthmus",
            peers={},
            imports={},
            vip_range="127.80.0.0/16",
            state_dir=state_dir,
            version="1",
        )
        self.records = OwnRecords(settings, authority, "g1")
        self.records.publication.end_listing()
        self.records.exports.put(SERVICE, WALL)
        self.writes: list[tuple[float, int]] = []
        self._revision = 0

    def set_healthy(self, healthy: int, now: float) -> None:
        self.records.exports.set_health(NAME, (ZoneHealth("", healthy, 3),))
        self.records.want_export(NAME, now)
        self.write(now)

    def run_until(self, end: float) -> None:
        publication = self.records.publication
        while (due := publication.next_due()) is not None and due <= end:
            self.write(due)

    def write(self, now: float) -> None:
        publication = self.records.publication
        while batch := publication.take_due(now, WALL + now):
            for write in batch:
                if isinstance(write, PutRecord) and write.path == paths.export(NAME):
                    self.writes.append((now, sum(zone.healthy for zone in parse_export(write.value).zones)))
            self._revision += 1
            publication.settle(batch, self._revision, now)


def play(publisher: Publisher, changes: list[tuple[float, int]]) -> float:
    now = 0.0
    for after_s, healthy in changes:
        publisher.run_until(now + after_s)
        now += after_s
        publisher.set_healthy(healthy, now)
    return now


@given(flips)
def test_writes_are_bounded_whatever_flaps(authority: Authority, changes: list[tuple[float, int]]) -> None:
    """In every minute, however often it changes; and once it rests, peers read how it is."""
    publisher = Publisher(authority, FilePath("unused"))
    end = play(publisher, [(0.01, 3), *changes])
    publisher.run_until(end + 60)
    assert publisher.writes[-1][1] == (changes[-1][1] if changes else 3)
    times = [at for at, _ in publisher.writes[1:]]
    most = sum(b.burst + 60 / b.every_s for b in (CROSSING_BUDGET, DRIFT_BUDGET))
    assert all(sum(start <= at < start + 60 for at in times) <= most for start in times)


@given(st.lists(st.tuples(st.floats(0.01, 5.0), st.integers(1, 3)), max_size=200))
def test_a_flapping_endpoint_among_others_costs_few_writes(
    authority: Authority, changes: list[tuple[float, int]]
) -> None:
    """Nine writes a minute at most, if something stays healthy."""
    publisher = Publisher(authority, FilePath("unused"))
    publisher.run_until(play(publisher, [(0.01, 3), *changes]) + 60)
    times = [at for at, _ in publisher.writes[1:]]
    assert all(sum(start <= at < start + 60 for at in times) <= 9 for start in times)


@given(st.lists(st.tuples(st.floats(2.0, 30.0), st.integers(0, 3)), min_size=1, max_size=40))
def test_losing_the_last_and_finding_the_first_is_told_at_once(
    authority: Authority, changes: list[tuple[float, int]]
) -> None:
    """Whatever else waits: with 2 s between changes nothing that failover turns on is held back."""
    publisher = Publisher(authority, FilePath("unused"))
    publisher.set_healthy(3, 0.0)
    now, before = 0.0, 3
    for after_s, healthy in changes:
        publisher.run_until(now + after_s)
        now += after_s
        publisher.set_healthy(healthy, now)
        if bool(healthy) != bool(before):
            assert publisher.writes[-1] == (now, healthy)
        before = healthy
