"""Prefix ranges and transactions, as etcd's messages have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.etcd.errors import EtcdError
from federation.etcd.kv import MAX_TXN_OPS, Compare, Op, build_txn, prefix_end


@given(st.binary(min_size=1, max_size=4), st.binary(max_size=4))
def test_a_prefix_range_holds_exactly_what_begins_with_it(prefix: bytes, key: bytes) -> None:
    """Also for prefixes that end in 0xff, where "the next one" is shorter. b"\\0" is etcd's "no end"."""
    end = prefix_end(prefix)
    inside = prefix <= key and (end == b"\0" or key < end)
    assert inside == key.startswith(prefix)


def test_a_comparison_must_fit_its_target() -> None:
    """A revision compared with bytes would be a silent comparison with 0."""
    with pytest.raises(TypeError, match="mod_revision"):
        build_txn([Compare(b"a", "mod_revision", "==", b"1")], [], [])


def test_each_list_has_its_own_limit() -> None:
    """etcd counts comparisons, success and failure separately."""
    ops = [Op.get(b"a")] * MAX_TXN_OPS
    compares = [Compare.version(b"a", "==", 0)] * MAX_TXN_OPS
    build_txn(compares, ops, ops)
    for lists in ((compares * 2, (), ()), ((), ops * 2, ()), ((), (), ops * 2)):
        with pytest.raises(EtcdError, match="split it"):
            build_txn(*lists)
