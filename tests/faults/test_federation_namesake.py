"""Two clusters of one federation have the same name, each with a root of its own."""

from __future__ import annotations

from pathlib import Path as FilePath

import trio

from federation.damping import CONTESTED_BUDGET
from gateway.status.problems import federation_problems
from tests.etcd_server import EtcdServer
from tests.federation_members import FederationMember, local_service, make_authority, run_member, until

_PLACES = 3
"""The bundle and two exports: where each undoes what the other one says."""
_BEGINNING = 20
"""Transactions of a start: registering, addresses, and what each says of itself for the first time."""


def names_the_other(member: FederationMember) -> bool:
    problems = [p for p in federation_problems(member.federation.status()) if p.subject.startswith("west/gateways/")]
    return len(problems) == 1 and "cluster.name" in problems[0].message


async def test_both_are_told_and_neither_writes_without_end(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Nobody looks at etcd to find out why services come and go: both statuses say it, for as long as it is so. And
    each answers what the other one writes, which must not become as many writes as etcd can take."""
    url, began = etcd_server.endpoint, trio.current_time()
    first, second = make_authority(tmp_path / "one", "west"), make_authority(tmp_path / "two", "west")
    async with run_member(tmp_path / "one", "west", {}, url, services=(local_service("a"),), authority=first) as one:
        # By another random source: each gateway's id is its own.
        async with run_member(
            tmp_path / "two", "west", {}, url, services=(local_service("b"),), authority=second, gateway="-two"
        ) as two:
            await until(lambda: names_the_other(one) and names_the_other(two))
            await trio.sleep(2)
            for member in (one, two):
                allowed = CONTESTED_BUDGET.burst + (trio.current_time() - began) / CONTESTED_BUDGET.every_s
                assert member.federation.status().etcd.writes <= _BEGINNING + _PLACES * allowed
        await until(lambda: not names_the_other(one))
        assert not one.federation.status().namesakes
