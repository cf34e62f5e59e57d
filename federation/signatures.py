"""Signatures of many records at once, checked in threads: `cryptography` lets go of the interpreter meanwhile.

The event loop waits for the threads and takes the records in afterwards. It does not do both at the same time: a thread
that comes back from a check would wait for the interpreter, for as long as the loop keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import trio

from federation.errors import RecordRefused
from federation.jws import verify_signature
from federation.peer_keys import Claim

WORTH_A_THREAD = 64
"""Fewer are checked where they are taken in, sooner than threads have begun."""
_THREADS = 4
"""At most: what else is done for a record is done by one."""


async def check_signatures(claims: Sequence[Claim | None]) -> list[bytes]:
    """For each claim the `key_id` under which its signature fits; empty where it does not, or there is no claim. What a
    digest vouches for was signed, and is not checked."""
    proofs = [claim.key_id if claim is not None and claim.is_vouched_for else b"" for claim in claims]
    wanted = [index for index, claim in enumerate(claims) if claim is not None and not claim.is_vouched_for]
    if not wanted:
        return proofs
    threads = min(_THREADS, len(os.sched_getaffinity(0)))
    async with trio.open_nursery() as nursery:
        for number in range(threads):
            share = wanted[number::threads]
            nursery.start_soon(trio.to_thread.run_sync, _check, claims, share, proofs)
    return proofs


def _check(claims: Sequence[Claim | None], share: Sequence[int], proofs: list[bytes]) -> None:
    for index in share:
        claim = claims[index]
        assert claim is not None
        try:
            verify_signature(claim.raw, claim.key)
        except RecordRefused:
            continue  # Whoever takes it in finds that out again, and says it.
        proofs[index] = claim.key_id
