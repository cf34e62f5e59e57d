"""Reading and writing against a real etcd."""

from __future__ import annotations

import msgspec
import pytest

from federation.etcd import Compare, EtcdClient, EtcdError, Op
from federation.etcd.kv import KeyRange


async def test_what_is_put_is_read_back_until_it_is_deleted(client: EtcdClient, prefix: bytes) -> None:
    """The plain cycle, with the revisions that guards are made of."""
    key = prefix + b"a"
    assert await client.get(key) is None
    first = await client.put(key, b"1")
    second = await client.put(key, b"2")
    found = await client.get(key)
    assert found is not None
    assert (found.key, found.value, found.version) == (key, b"2", 2)
    assert (found.create_revision, found.mod_revision) == (first, second)
    assert await client.delete(key) == 1
    assert await client.delete(key) == 0
    assert await client.get(key) is None


async def test_pages_are_of_one_revision(client: EtcdClient, prefix: bytes) -> None:
    """A read of many pages must not mix two states: what is written meanwhile is not in it."""
    for number in range(7):
        await client.put(prefix + b"%d" % number, b"old")
    pages = []
    async for page in client.read_pages(prefix, page_keys=3):
        pages.append(page)
        await client.put(prefix + b"6", b"new")
        await client.delete(prefix + b"5")
    assert [len(page.kvs) for page in pages] == [3, 3, 1]
    assert len({page.revision for page in pages}) == 1
    kvs = [kv for page in pages for kv in page.kvs]
    assert [kv.key for kv in kvs] == [prefix + b"%d" % number for number in range(7)]
    assert {kv.value for kv in kvs} == {b"old"}


async def test_ranges_of_no_interest_are_left_out(client: EtcdClient, prefix: bytes) -> None:
    """What lies in a gap is read no further than the page in which it began, and what is behind it is not lost."""
    for cluster in (b"a", b"b", b"c"):
        for kind in (b"exports", b"vips", b"x"):
            for number in range(5):
                await client.put(prefix + b"%b/%b/%d" % (cluster, kind, number), b"")

    def gap(key: bytes) -> KeyRange:
        begin = prefix + key[len(prefix) :].split(b"/")[0] + b"/vips/"
        return KeyRange(begin, begin[:-1] + b"0")

    for page_keys in (1, 2, 3, 5, 7, 100):
        read = [
            kv.key
            for page in [p async for p in client.read_pages(prefix, page_keys=page_keys, gap=gap)]
            for kv in page.kvs
        ]
        every = [kv.key for kv in (await client.read_prefix(prefix)).kvs]
        assert read == [key for key in every if key in set(read)], "each once, in order"
        assert {key for key in every if b"/vips/" not in key} <= set(read)
        assert page_keys > 5 or len([key for key in read if b"/vips/" in key]) <= 3 * page_keys
        assert page_keys > 1 or not [key for key in read if b"/vips/" in key]


async def test_ranges_that_are_known_are_left_out(client: EtcdClient, prefix: bytes) -> None:
    """All of them, whatever the pages: at the begin, in the middle, beside each other, at the end; and gaps as well."""
    for kind in (b"a", b"b", b"c", b"d", b"vips", b"x"):
        for number in range(4):
            await client.put(prefix + b"%b/%d" % (kind, number), b"")
    every = [kv.key for kv in (await client.read_prefix(prefix)).kvs]
    gap = KeyRange(prefix + b"vips/", prefix + b"vips0")
    for kinds in (b"", b"a", b"bc", b"x", b"ax", b"abcdx"):
        left_out = [KeyRange(prefix + b"%c/" % kind, prefix + b"%c0" % kind) for kind in kinds]
        for page_keys in (1, 3, 100):
            read: list[bytes] = []
            async for page in client.read_pages(prefix, page_keys=page_keys, left_out=left_out, gap=lambda _: gap):
                read += [kv.key for kv in page.kvs]
            assert read == [key for key in every if key in set(read)]
            wanted = {key for key in every if not any(keys.begin <= key < keys.end for keys in left_out)}
            assert wanted - set(read) <= {key for key in every if b"/vips/" in key}


async def test_what_is_new_in_a_range_comes_with_the_number_of_all(client: EtcdClient, prefix: bytes) -> None:
    """New and changed keys come, also where they are many; of the rest it is told how many there are, so that a deleted
    one is missed. Old revisions are told of as well."""
    keys = KeyRange(prefix, prefix[:-1] + b"0")
    for number in range(5):
        since = await client.put(prefix + b"%d" % number, b"old")
    nothing = await client.read_news(keys, since=since)
    assert (nothing.kvs, nothing.count, nothing.whole) == ([], 5, True)
    await client.put(prefix + b"1", b"new")
    await client.put(prefix + b"9", b"new")
    await client.delete(prefix + b"3")
    news = await client.read_news(keys, since=since)
    assert {kv.key: kv.value for kv in news.kvs} == {prefix + b"1": b"new", prefix + b"9": b"new"}
    assert (news.count, news.whole) == (5, True)
    few = await client.read_news(keys, since=since, page_keys=1)
    assert (len(few.kvs), few.whole) == (1, False)
    before = await client.read_news(keys, since=since, revision=nothing.revision)
    assert (before.kvs, before.count, before.revision) == ([], 5, nothing.revision)


async def test_a_history_is_known_by_what_was_seen_of_it(client: EtcdClient, prefix: bytes) -> None:
    """What was replaced since is looked up where it was; another value, revision or key is another history."""
    await client.put(prefix + b"a", b"seen")
    seen = await client.get(prefix + b"a")
    assert seen is not None
    assert await client.remembers(seen)
    await client.put(prefix + b"a", b"changed")
    await client.delete(prefix + b"a")
    assert await client.remembers(seen)
    replace = msgspec.structs.replace
    assert not await client.remembers(replace(seen, value=b"else"))
    assert not await client.remembers(replace(seen, key=prefix + b"b"))
    assert not await client.remembers(replace(seen, mod_revision=seen.mod_revision + 1))
    assert not await client.remembers(replace(seen, mod_revision=seen.mod_revision + 1_000_000))


async def test_a_prefix_ends_where_it_should(client: EtcdClient, prefix: bytes) -> None:
    """`…/a/` must not include `…/a0` ("/" and "0" are neighbours), nor 0xff be lost at the end."""
    for name in (b"a", b"a/1", b"a/\xff", b"a/\xff\xff", b"a0"):
        await client.put(prefix + name, b"")
    found = await client.read_prefix(prefix + b"a/")
    assert [kv.key for kv in found.kvs] == [prefix + b"a/1", prefix + b"a/\xff", prefix + b"a/\xff\xff"]
    assert await client.delete_prefix(prefix + b"a/\xff") == 2
    assert len((await client.read_prefix(prefix, serializable=True)).kvs) == 3


async def test_an_empty_prefix_reads_an_empty_page(client: EtcdClient, prefix: bytes) -> None:
    """Its revision is what a first watch starts after, so it must come even without keys."""
    found = await client.read_prefix(prefix)
    assert found.kvs == []
    assert found.revision >= 1


async def test_an_answer_beyond_4_mb_is_read(client: EtcdClient, prefix: bytes) -> None:
    """gRPC clients stop at 4 MB by default; a page of the catalog may be larger."""
    for number in range(6):
        await client.put(prefix + b"%d" % number, bytes([number]) * 1_000_000)
    found = await client.read_prefix(prefix)
    assert [kv.value for kv in found.kvs] == [bytes([number]) * 1_000_000 for number in range(6)]
    await client.delete_prefix(prefix)


async def test_a_transaction_runs_one_branch(client: EtcdClient, prefix: bytes) -> None:
    """A write that is guarded by mod_revision happens once, and the loser is told what is there."""
    key = prefix + b"a"
    created = await client.txn([Compare.version(key, "==", 0)], [Op.put(key, b"1"), Op.get(key)])
    assert created.succeeded
    mine = created.results[1].kv
    assert mine is not None
    assert mine.mod_revision == created.revision
    guard = [Compare.mod_revision(key, "==", mine.mod_revision)]
    assert (await client.txn(guard, [Op.put(key, b"2")], [Op.get(key)])).succeeded
    lost = await client.txn(guard, [Op.put(key, b"3")], [Op.get(key)])
    assert not lost.succeeded
    assert lost.results[0].kv is not None
    assert lost.results[0].kv.value == b"2"


async def test_every_comparison_means_what_it_says(client: EtcdClient, prefix: bytes) -> None:
    """Each target and each operator, on a key whose revisions and version all differ."""
    key = prefix + b"a"
    created = await client.put(key, b"x")
    await client.put(prefix + b"other", b"")
    modified = await client.put(key, b"y")
    for compare, holds in (
        (Compare.create_revision(key, "==", created), True),
        (Compare.create_revision(key, "!=", created), False),
        (Compare.mod_revision(key, ">", created), True),
        (Compare.mod_revision(key, "<", modified), False),
        (Compare.version(key, "==", 2), True),
        (Compare.value(key, "==", b"y"), True),
        (Compare.value(key, "==", b"x"), False),
    ):
        assert (await client.txn([compare], [])).succeeded is holds, compare


async def test_a_delete_in_a_transaction_tells_how_many(client: EtcdClient, prefix: bytes) -> None:
    """Cleaning up is done in transactions, and reports what it did."""
    await client.put(prefix + b"a", b"")
    done = await client.txn([], [Op.delete(prefix + b"a"), Op.delete(prefix + b"b"), Op.get(prefix + b"a")])
    assert [result.deleted for result in done.results] == [1, 0, 0]
    assert done.results[2].kv is None


async def test_a_transaction_takes_128_operations_and_not_more(client: EtcdClient, prefix: bytes) -> None:
    """etcd's limit, held on our side with a message that says it."""
    ops = [Op.put(prefix + b"%d" % number, b"") for number in range(129)]
    assert (await client.txn([], ops[:128])).succeeded
    with pytest.raises(EtcdError, match=r"129 operations.*takes 128") as caught:
        await client.txn([], ops)
    assert caught.value.code == "too_large"


async def test_a_value_that_is_too_large_is_refused_with_words(client: EtcdClient, prefix: bytes) -> None:
    """etcd's answer is a bare "request is too large"; the operator needs the limit's name."""
    with pytest.raises(EtcdError, match="max-request-bytes") as caught:
        await client.put(prefix + b"a", bytes(1_700_000))
    assert caught.value.code == "too_large"


async def test_a_key_on_an_unknown_lease_is_refused(client: EtcdClient, prefix: bytes) -> None:
    """Whoever publishes on a lost lease must learn that it is lost."""
    with pytest.raises(EtcdError) as caught:
        await client.put(prefix + b"a", b"", lease=12345)
    assert caught.value.code == "not_found"


async def test_status_names_version_revision_and_leader(client: EtcdClient, prefix: bytes) -> None:
    """Tests of failures see by it how far an etcd is, and whether it has a leader."""
    revision = await client.put(prefix + b"a", b"")
    status = await client.status()
    assert status.version.startswith("3.")
    assert status.revision >= revision
    assert status.leader != 0
    assert status.raft_index > 0


async def test_an_invalid_request_is_the_callers_fault(client: EtcdClient) -> None:
    """etcd's InvalidArgument keeps its words and is not tried again."""
    retries = client.statistics().retries
    with pytest.raises(EtcdError, match="key is not provided") as caught:
        await client.put(b"", b"")
    assert caught.value.code == "invalid_argument"
    assert client.statistics().retries == retries
