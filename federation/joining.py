"""The joiner's side in etcd: look for the inviter, leave the request, wait for the answer."""

from __future__ import annotations

from collections.abc import Callable

import trio

from federation import paths
from federation.errors import FederationError, RecordRefused
from federation.etcd.client import EtcdClient
from federation.etcd.errors import EtcdError
from federation.join_answer import AnswerValue, digest_of, parse_answer
from federation.join_request import make_request
from federation.join_token import JoinToken
from federation.jws import parse_header
from federation.paths import BUNDLE, Layout, Path
from federation.peer_keys import PeerKeys
from federation.record import KeyLookup, Record, open_record
from trust.bundle import RecordKey
from trust.source import TrustSource

INVITER_WAIT_S = 10.0
"""A token may be redeemed right after it was printed, before the inviter's gateway has said anything in etcd."""
_POLL_S = 0.25


class JoinFailed(FederationError):
    """The request could not be made. `code`: `no-inviter`, `foreign-inviter` or `name-taken`. Nothing was written."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


async def ask_to_join(
    etcd: EtcdClient,
    token: JoinToken,
    authority: TrustSource,
    cluster: str,
    *,
    now: float,
    timeout_s: float,
    waiting: Callable[[], None] = lambda: None,
    inviter_wait_s: float = INVITER_WAIT_S,
) -> AnswerValue | None:
    """Leaves `cluster`'s request and returns the inviter's answer to it. A request that was refused, or not answered in
    time (None), is taken back. `waiting` is called when the inviter is not in etcd, and is waited for. `now` is Unix
    seconds. Raises JoinFailed and EtcdError."""
    layout = Layout(token.prefix, token.federation)
    bundle = layout.key(token.cluster, BUNDLE)
    if await etcd.get(bundle) is None:
        waiting()
        await _wait_for(etcd, bundle, inviter_wait_s)
    keys = await _find_inviter(etcd, layout, token, now)
    await _require_own_name(etcd, layout, authority, cluster)
    key = layout.key(cluster, paths.request(token.cluster))
    raw = make_request(token, authority, cluster, now)
    revision = await etcd.put(key, raw)
    answer: AnswerValue | None = None
    try:
        with trio.move_on_after(timeout_s):
            answer = await _wait_answer(etcd, layout, token, cluster, keys, digest_of(raw), revision, now)
    finally:
        if answer is None or answer.code.is_refusal:
            with trio.move_on_after(2.0, shield=True):
                await _take_back(etcd, key)
    return answer


async def _wait_for(etcd: EtcdClient, key: bytes, timeout_s: float) -> None:
    """Returns when something lies at `key`, or after `timeout_s`."""
    with trio.move_on_after(timeout_s):
        while await etcd.get(key) is None:
            await trio.sleep(_POLL_S)


async def _find_inviter(etcd: EtcdClient, layout: Layout, token: JoinToken, now: float) -> PeerKeys:
    """The inviter's record keys, from its bundle in etcd and the root in the token."""
    kv = await etcd.get(layout.key(token.cluster, BUNDLE))
    if kv is None:
        raise JoinFailed(
            "no-inviter",
            f"this etcd has no cluster {token.cluster} of federation {token.federation}: its gateway never ran with "
            f"it, or it is another etcd than the invitation's, which is {', '.join(token.endpoints)}",
        )
    keys = PeerKeys(token.trust_domain, token.root)
    try:
        keys.accept(_open(kv.value, layout, token, BUNDLE, keys.bundle_key, now))
    except RecordRefused as error:
        raise JoinFailed(
            "foreign-inviter",
            f"the cluster {token.cluster} in this etcd is not the one that made the invitation, whose root is "
            f"{token.root}: {error}",
        ) from None
    return keys


def _open(raw: bytes, layout: Layout, token: JoinToken, path: Path, key_for: KeyLookup, now: float) -> Record:
    """A record of the inviter's. Raises RecordRefused."""
    return open_record(
        raw,
        federation=layout.federation,
        cluster=token.cluster,
        path=str(path),
        key_for=key_for,
        last_sequence=-1,
        now=now,
    )


async def _require_own_name(etcd: EtcdClient, layout: Layout, authority: TrustSource, cluster: str) -> None:
    """Another cluster of our name must not be there: names are unique in a federation."""
    kv = await etcd.get(layout.key(cluster, BUNDLE))
    if kv is None:
        return
    try:
        ours = parse_header(kv.value).kid == RecordKey.of(authority.record_key.public_key).kid
    except RecordRefused:
        ours = False
    if not ours:
        raise JoinFailed(
            "name-taken",
            f"federation {layout.federation} has a cluster {cluster} already, with another root: choose another "
            "cluster.name; if it was this cluster before it lost its state, delete what lies in etcd under "
            f"{(layout.clusters + cluster.encode()).decode()}/",
        )


async def _wait_answer(
    etcd: EtcdClient,
    layout: Layout,
    token: JoinToken,
    cluster: str,
    keys: PeerKeys,
    digest: str,
    revision: int,
    now: float,
) -> AnswerValue:
    """Follows the answer's key from the request's revision on, so that none is missed however short it lies there."""
    path = paths.answer(cluster)
    key = layout.key(token.cluster, path)
    async with etcd.watch(key, start_revision=revision + 1) as watch:
        async for batch in watch:
            for event in batch.events:
                if event.kind != "put" or event.kv.key != key:
                    continue
                try:
                    record = _open(event.kv.value, layout, token, path, keys.record_key, now)
                except RecordRefused:
                    continue  # Not the inviter's word: somebody else writes there.
                answer = parse_answer(record.value)
                if answer is not None and answer.request == digest:
                    return answer
    raise EtcdError("unavailable", "the watch for the answer ended")


async def _take_back(etcd: EtcdClient, key: bytes) -> None:
    try:
        await etcd.delete(key)
    except EtcdError:
        pass  # It is harmless: the inviter has refused it, or will judge it when it comes back.
