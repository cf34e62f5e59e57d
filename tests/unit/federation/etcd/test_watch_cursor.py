"""A watch's place in history."""

from __future__ import annotations

import pytest

from federation.etcd import etcd_pb2 as pb
from federation.etcd.errors import EtcdError
from federation.etcd.watch_cursor import WatchCursor


def events(*revisions: int, store: int = 0, fragment: bool = False) -> pb.WatchResponse:
    return pb.WatchResponse(
        header=pb.ResponseHeader(revision=store or max(revisions)),
        events=[pb.Event(kv=pb.KeyValue(key=b"k", mod_revision=revision)) for revision in revisions],
        fragment=fragment,
    )


def test_the_place_follows_the_events_not_the_store() -> None:
    """While a watcher catches up, the store is ahead of what was sent: resuming from there would skip events."""
    cursor = WatchCursor(5)
    batch = cursor.apply(events(5, 7, store=100))
    assert batch is not None
    assert batch.revision == 7
    assert cursor.next_revision == 8


def test_fragments_are_one_batch_and_a_broken_one_comes_again() -> None:
    """The place moves with the last fragment only."""
    cursor = WatchCursor(5)
    assert cursor.apply(events(5, fragment=True)) is None
    assert cursor.apply(events(5, fragment=True)) is None
    assert cursor.next_revision == 5
    cursor.restart()
    assert cursor.apply(events(5, fragment=True)) is None
    batch = cursor.apply(events(5, 6))
    assert batch is not None
    assert len(batch.events) == 3
    assert cursor.next_revision == 7


def test_progress_moves_the_place_and_never_back() -> None:
    """A progress report of a member that lags must not make us read events twice."""
    cursor = WatchCursor(5)
    batch = cursor.apply(pb.WatchResponse(header=pb.ResponseHeader(revision=9)))
    assert batch is not None
    assert (batch.revision, batch.events) == (9, [])
    assert cursor.next_revision == 10
    cursor.apply(pb.WatchResponse(header=pb.ResponseHeader(revision=3)))
    assert cursor.next_revision == 10


def test_an_acknowledgement_is_no_progress() -> None:
    """`created` carries the store's revision, but what lies before it is still to come."""
    cursor = WatchCursor(5)
    assert cursor.apply(pb.WatchResponse(header=pb.ResponseHeader(revision=9), created=True)) is None
    assert cursor.next_revision == 5


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (pb.WatchResponse(canceled=True, compact_revision=8), "compacted"),
        (pb.WatchResponse(created=True, canceled=True, compact_revision=8), "compacted"),
        (
            pb.WatchResponse(created=True, canceled=True, cancel_reason="etcdserver: permission denied"),
            "permission_denied",
        ),
        (pb.WatchResponse(canceled=True, cancel_reason="etcdserver: no leader"), "no_leader"),
        (pb.WatchResponse(canceled=True), "unavailable"),
    ],
)
def test_a_cancelled_watch_says_why(response: pb.WatchResponse, code: str) -> None:
    """A refusal is both `created` and `canceled`: taken for a success, the watch would be silent for ever."""
    with pytest.raises(EtcdError) as caught:
        WatchCursor(5).apply(response)
    assert caught.value.code == code
    assert caught.value.compact_revision == response.compact_revision


def test_a_store_is_behind_when_it_lacks_what_was_seen() -> None:
    """A store that is exactly as far as we are is fine."""
    cursor = WatchCursor(10)
    assert not cursor.is_behind(9)
    assert cursor.is_behind(8)
