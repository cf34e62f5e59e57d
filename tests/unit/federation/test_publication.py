"""What to write so that etcd holds what we want, and nothing else is written."""

from __future__ import annotations

from pathlib import Path as FilePath

import pytest

from discovery.model import ServiceName
from federation import paths
from federation.damping import CONTESTED_BUDGET, Urgency
from federation.paths import BUNDLE, Path
from federation.publication import MAX_BATCH, DeleteRecord, Publication, PutRecord, Write
from tests.federation_members import make_authority
from trust.authority import Authority

WALL = 1_800_000_000.0
GATEWAY = paths.gateway("g1")


def export(name: str) -> Path:
    return paths.export(ServiceName("shop", name))


A, B = export("a"), export("b")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"), "west")


@pytest.fixture
def publication(authority: Authority) -> Publication:
    it = Publication(federation="acme", cluster="west", authority=authority, gateway_id="g1")
    it.begin_listing()
    it.end_listing()
    return it


def puts(batch: list[Write]) -> dict[Path, bytes]:
    return {write.path: write.value for write in batch if isinstance(write, PutRecord)}


def deletes(batch: list[Write]) -> list[Path]:
    return [write.path for write in batch if isinstance(write, DeleteRecord)]


def write_all(it: Publication, now: float = 0.0, revision: int = 1) -> list[Write]:
    """Executes everything that is due; returns it in order."""
    done: list[Write] = []
    while batch := it.take_due(now, WALL):
        it.settle(batch, revision, now)
        done += batch
    return done


def test_only_what_differs_is_written(publication: Publication) -> None:
    """After a restart etcd mostly holds what we want: the write load of a restart is nothing."""
    publication.want(A, b"1", 0.0)
    publication.want(B, b"2", 0.0)
    publication.begin_listing()
    publication.found(A, b"1", 0, 5)
    publication.found(B, None, 0, 5)
    publication.end_listing()
    assert puts(write_all(publication, revision=6)) == {B: b"2"}
    assert write_all(publication) == []


def test_what_we_wrote_reads_back_as_ours(publication: Publication, authority: Authority, tmp_path: FilePath) -> None:
    """With its sequence; what another signed, or signed for another place, is not ours."""
    publication.want(A, b"1", 0.0)
    (write,) = publication.take_due(0.0, WALL)
    assert isinstance(write, PutRecord)
    record = publication.open_own(A, write.raw)
    assert record is not None
    assert record.value == b"1"
    assert record.sequence == int(WALL * 1000)
    assert publication.open_own(B, write.raw) is None
    other = Publication(federation="acme", cluster="west", authority=make_authority(tmp_path, "west"), gateway_id="g1")
    assert other.open_own(A, write.raw) is None


def test_sequences_go_on_above_what_was_read(publication: Publication, authority: Authority) -> None:
    """Even when the clock went back a year while we were down."""
    publication.want(A, b"1", 0.0)
    (first,) = publication.take_due(0.0, WALL)
    assert isinstance(first, PutRecord)
    restarted = Publication(federation="acme", cluster="west", authority=authority, gateway_id="g1")
    restarted.open_own(A, first.raw)
    restarted.want(A, b"2", 0.0)
    (second,) = restarted.take_due(0.0, WALL - 3e7)
    assert isinstance(second, PutRecord)
    record = restarted.open_own(A, second.raw)
    assert record is not None
    assert record.sequence == int(WALL * 1000) + 1


def test_what_is_older_than_our_latest_is_written_again(publication: Publication, authority: Authority) -> None:
    """A restored etcd holds what we said before: peers refuse that by its sequence, also where it says what we mean."""
    raws = []
    for revision, value in enumerate((b"1", b"2", b"1"), 5):
        publication.want(A, value, 0.0)
        (write,) = batch = publication.take_due(0.0, WALL)
        assert isinstance(write, PutRecord)
        publication.settle(batch, revision, 0.0)
        raws.append(write.raw)
    assert publication.open_own(A, raws[0]) is None
    latest = publication.open_own(A, raws[2])
    assert latest is not None
    assert latest.value == b"1"
    restarted = Publication(federation="acme", cluster="west", authority=authority, gateway_id="g1")
    assert restarted.open_own(A, raws[2]) is not None, "from disk"
    assert restarted.open_own(A, raws[0]) is None, "from etcd"


def test_flapping_is_damped_and_catalog_changes_are_not(publication: Publication) -> None:
    """What can wait does, and the last state is what is written; what was written meanwhile is not written again."""
    publication.want(A, b"1", 0.0)
    assert len(write_all(publication, 0.0)) == 1
    for number in range(10):
        publication.want(A, f"h{number}".encode(), 0.1, urgency=Urgency.DRIFT)
    assert publication.take_due(0.1, WALL) == []
    assert publication.next_due() == 1.0
    assert puts(write_all(publication, 1.0, 2)) == {A: b"h9"}
    publication.want(A, b"h10", 1.1, urgency=Urgency.DRIFT)
    publication.want(A, b"ports", 1.2)
    assert puts(write_all(publication, 1.2, 3)) == {A: b"ports"}
    assert publication.next_due() is None
    # Long quiet: the first flap goes at once.
    publication.want(A, b"down", 99.0, urgency=Urgency.DRIFT)
    assert puts(write_all(publication, 99.0, 4)) == {A: b"down"}


def test_what_came_while_a_batch_was_under_way_waits_its_turn(publication: Publication) -> None:
    """The write pays for what it wrote, and what is newer is written when it is due."""
    publication.want(A, b"1", 0.0)
    write_all(publication, 0.0)
    publication.want(A, b"2", 5.0, urgency=Urgency.DRIFT)
    batch = publication.take_due(5.0, WALL)
    publication.want(A, b"3", 5.1, urgency=Urgency.DRIFT)
    publication.settle(batch, 2, 5.2)
    assert puts(write_all(publication, 7.0, 3)) == {A: b"3"}


def test_a_failed_write_is_wanted_still(publication: Publication) -> None:
    publication.want(A, b"1", 0.0)
    batch = publication.take_due(0.0, WALL)
    assert publication.take_due(0.0, WALL) == []
    publication.fail(batch)
    assert puts(publication.take_due(0.0, WALL)) == {A: b"1"}


def test_a_change_during_a_write_is_written_after_it(publication: Publication) -> None:
    publication.want(A, b"1", 0.0)
    batch = publication.take_due(0.0, WALL)
    publication.want(A, b"2", 0.0)
    publication.settle(batch, 1, 0.0)
    assert puts(write_all(publication)) == {A: b"2"}


def test_a_watch_that_is_behind_changes_nothing(publication: Publication) -> None:
    """Our own older write comes back by the watch after the newer one: no third write. A foreign one after it does."""
    publication.want(A, b"2", 0.0)
    write_all(publication, revision=10)
    publication.found(A, b"1", 0, 9)
    publication.missing(A, 8)
    assert write_all(publication) == []
    publication.found(A, None, 0, 11)
    assert puts(write_all(publication, revision=12)) == {A: b"2"}
    publication.missing(A, 13)
    assert puts(write_all(publication, revision=14)) == {A: b"2"}


def test_exports_are_withdrawn_only_when_all_of_ours_are_known(publication: Publication) -> None:
    """A source that has not spoken yet is no reason to withdraw what it exported before."""
    publication.found(A, b"1", 0, 5)
    publication.found(paths.ack("eu"), b"1", 0, 5)
    assert deletes(write_all(publication, revision=6)) == [paths.ack("eu")]
    publication.withdraw_unwanted()
    assert deletes(write_all(publication, revision=7)) == [A]
    publication.want(B, b"2", 0.0)
    write_all(publication, revision=8)
    publication.unwant(B)
    assert deletes(write_all(publication, revision=9)) == [B]


def test_other_gateways_of_our_cluster_are_left_alone(publication: Publication) -> None:
    publication.withdraw_unwanted()
    publication.found(paths.gateway("g2"), b"x", 7, 5)
    publication.found(GATEWAY, b"x", 7, 5)
    assert deletes(write_all(publication)) == [GATEWAY]


def test_the_gateway_hangs_on_its_lease(publication: Publication) -> None:
    """No lease, no record; another lease, the record anew, whatever etcd holds."""
    publication.want(GATEWAY, b"g", 0.0, leased=True)
    assert write_all(publication) == []
    publication.hold(77)
    (write,) = write_all(publication, revision=5)
    assert isinstance(write, PutRecord)
    assert write.lease == 77
    publication.hold(0)
    assert write_all(publication) == []
    publication.hold(78)
    (write,) = write_all(publication, revision=6)
    assert isinstance(write, PutRecord)
    assert write.lease == 78


def test_the_bundle_goes_last_into_an_empty_etcd_and_in_turn_otherwise(publication: Publication) -> None:
    """Its coming tells readers that all the rest was said; nothing may follow it from the same return."""
    publication.want(BUNDLE, b"b1", 0.0)
    for number in range(MAX_BATCH + 5):
        publication.want(export(f"s{number}"), b"1", 0.0)
    first = publication.take_due(0.0, WALL)
    assert len(first) == MAX_BATCH
    assert BUNDLE not in puts(first)
    publication.settle(first, 1, 0.0)
    rest = write_all(publication, revision=2)
    assert rest[-1].path == BUNDLE
    assert len(rest) == 6
    publication.want(BUNDLE, b"b2", 0.0)
    publication.want(A, b"1", 0.0)
    assert puts(publication.take_due(0.0, WALL)).keys() == {BUNDLE, A}


def test_an_etcd_that_was_replaced_gets_everything_again(publication: Publication) -> None:
    """Its revisions begin anew: what we knew of the old ones must not hide what is missing."""
    publication.want(A, b"1", 0.0)
    write_all(publication, revision=1_000)
    publication.begin_listing()
    publication.end_listing()
    assert puts(write_all(publication, revision=2)) == {A: b"1"}
    publication.found(A, None, 0, 3)
    assert puts(write_all(publication, revision=4)) == {A: b"1"}


@pytest.mark.parametrize("undone", ["overwritten", "deleted"])
def test_what_somebody_else_undoes_is_not_said_again_without_end(publication: Publication, undone: str) -> None:
    """Two clusters of one name would answer each other's every write with one of their own, hundreds a second, for
    ever. A few times it is said again at once, which an etcd that was tampered with needs; then only now and then."""
    publication.want(BUNDLE, b"b", 0.0)
    write_all(publication, revision=1)
    writes, revision = 0, 1
    for tenth in range(600):
        if undone == "overwritten":
            publication.found(BUNDLE, None, 0, revision := revision + 1)
        else:
            publication.missing(BUNDLE, revision := revision + 1)
        writes += len(write_all(publication, tenth / 10, revision := revision + 1))
        assert tenth >= CONTESTED_BUDGET.burst or writes == tenth + 1, "at once at first"
    assert writes == pytest.approx(CONTESTED_BUDGET.burst + 60 / CONTESTED_BUDGET.every_s, abs=1)
    publication.want(BUNDLE, b"other", 60.0)
    assert puts(write_all(publication, 60.0, revision + 1)) == {BUNDLE: b"other"}, "what changed never waits"
