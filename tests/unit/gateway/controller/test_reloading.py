"""A configuration file that changes while a gateway runs: what is taken in, and what is refused, and why."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from gateway.config import Config, load_config
from gateway.controller.reloading import Reloading
from gateway.transport.listeners import ListenError
from tests.gateway_ends import wait_until

_GOOD = "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\n"


class Side:
    """Whoever uses the configuration."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "cluster.yaml"
        self.path.write_text(_GOOD)
        self.taken: list[Config] = []
        self.refuses: Exception | None = None
        self.reloading = Reloading(self.path, load_config(self.path), self.take)

    def take(self, config: Config) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.taken.append(config)

    def write(self, more: str) -> None:
        """Puts another file in place whole, as editors do."""
        new = self.path.with_suffix(".new")
        new.write_text(_GOOD + more)
        new.replace(self.path)


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(tmp_path)


def test_what_is_refused_says_why_until_the_file_is_good(side: Side) -> None:
    """Keys that are none, what needs a restart, a socket that can't be opened, a file that is gone: nothing changes."""
    for more, says in [("gatway: {}\n", "unknown key"), ("state_dir: ./elsewhere\n", "needs a restart")]:
        side.write(more)
        side.reloading.reload()
        assert says in side.reloading.problem
    side.write("gateway: {http: 127.0.0.1:80}\n")
    side.refuses = ListenError("http cannot listen")
    side.reloading.reload()
    assert side.reloading.problem == "http cannot listen; the old configuration stays"
    side.path.unlink()
    side.reloading.reload()
    assert "can't be read" in side.reloading.problem
    assert side.taken == []
    side.refuses = None
    side.write("")
    side.reloading.reload()
    assert side.reloading.problem == ""
    assert len(side.taken) == 1


def test_the_next_change_is_compared_with_what_is_in_use(side: Side) -> None:
    """A refused file is not what the next one differs from."""
    side.write("state_dir: ./elsewhere\n")
    side.reloading.reload()
    side.write("gateway: {workers: 3}\n")
    side.reloading.reload()
    assert side.reloading.problem == ""
    assert [config.gateway.workers for config in side.taken] == [3]


async def test_it_follows_the_file_and_obeys_sighup(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a change that was made before it began to follow; and a signal without a change, since files that are named
    may have changed."""
    monkeypatch.setattr("gateway.controller.reloading.CONFIG_POLL_S", 0.01)
    side.write("gateway: {workers: 2}\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.reloading.run)
        await wait_until(lambda: len(side.taken) == 1)
        side.write("gateway: {workers: 3}\n")
        await wait_until(lambda: len(side.taken) == 2)
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_until(lambda: len(side.taken) == 3)
        nursery.cancel_scope.cancel()
    assert [config.gateway.workers for config in side.taken] == [2, 3, 3]
