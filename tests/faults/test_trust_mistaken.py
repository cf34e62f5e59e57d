"""A peer that trusts somebody else than us: its operator mistyped what our cluster is. Both sides say what is wrong."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from gateway.demo.waiting import wait_until
from tests.ca_directory import sub_ca, write_ca
from tests.fault_rig.clusters import FaultLab, Gateway, Site
from tests.fault_rig.explained import explained
from tests.forge import Forge, p256
from trust.fingerprint import fingerprint_of

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    """East and eu have one root, as in a company with one PKI: a chain to it says nothing of which cluster it is."""
    directory = tmp_path_factory.mktemp("lab")
    now = datetime.now(UTC)
    root = Forge.root("acme root", not_before=now - timedelta(days=1), not_after=now + timedelta(days=365))
    ca = write_ca(directory / "ca", sub_ca(root, p256(), now=now), [root])
    sections = f"trust: {{ca_dir: {ca}}}\n"
    lab = FaultLab(
        directory,
        (Site("east", sections=sections), Site("west", {"payments": 1}), Site("eu", sections=sections)),
        "127.0.0.1",
    )
    try:
        for name in ("east", "eu"):
            for cluster in lab.clusters.values():
                edit(cluster.gateways[0], rf'({name}: .*root: )"[^"]*"', rf'\1"{fingerprint_of(root.der)}"')
        lab.start()
        lab.wait_ready()
        yield lab
    except BaseException:
        print(lab.last_words())
        raise
    finally:
        lab.close()


def edit(gateway: Gateway, pattern: str, replacement: str) -> None:
    text = gateway.config_path.read_text()
    gateway.config_path.write_text(re.sub(pattern, replacement, text, count=1))


@contextmanager
def mistaken(gateway: Gateway, pattern: str, replacement: str) -> Iterator[None]:
    """The gateway's file has something else there for as long as the block runs."""
    good = gateway.config_path.read_text()
    edit(gateway, pattern, replacement)
    assert gateway.config_path.read_text() != good
    os.kill(gateway.group.pid("gateway"), signal.SIGHUP)
    yield
    gateway.config_path.write_text(good)
    os.kill(gateway.group.pid("gateway"), signal.SIGHUP)


@pytest.mark.parametrize(
    ("pattern", "replacement", "code", "west_says"),
    [
        (
            r"trust_domain: east\.acme",
            "trust_domain: ost.acme",
            "wrong-trust-domain",
            "is not one that is expected here",
        ),
        (r'(east: .*root: )"[^"]*"', rf'\1"sha256:{"ab" * 32}"', "unknown-authority", f"sha256:{'ab' * 32} is pinned"),
    ],
    ids=["trust domain", "root"],
)
def test_a_peer_that_does_not_let_us_in_says_why(
    lab: FaultLab, pattern: str, replacement: str, code: str, west_says: str
) -> None:
    """In the calling gateway's status and in what it explains of a service there; in the peer's own status, too. When
    the file is good again, so is the link."""
    west, east_says = lab["west"].gateways[0], f"the peer does not let us in ({code})"
    with mistaken(west, pattern, replacement):
        wait_until(lambda: east_says in link_problem(lab), "east's status says why", timeout_s=30)
        explained(lab, lambda e: east_says in e.summary)
        wait_until(lambda: west_says in problems(west), "west's status says why", timeout_s=30)
    explained(lab, lambda e: e.summary.startswith("west gets 100 %"))


def link_problem(lab: FaultLab) -> str:
    """What east's status says of its tunnels to west."""
    (west,) = [peer for peer in lab.gateway.status().peers if peer.cluster == "west"]
    return "; ".join(tunnel.error for tunnel in west.data.gateways)


def problems(gateway: Gateway) -> str:
    return "; ".join(problem.message for problem in gateway.status().problems)
