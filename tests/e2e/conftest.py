"""One lab for the session: etcd and three clusters as processes. A test that breaks something mends it again."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import Lab, open_lab
from gateway.demo.waiting import wait_until


@pytest.fixture(scope="session")
def session_lab() -> Iterator[Lab]:
    with open_lab(random.Random(2)) as lab:
        lab.start()
        yield lab


def _settled(lab: Lab) -> bool:
    """Whether payments is answered where east looks first, and nothing is on its way back to there."""
    if lab["east"].status().diversions:
        return False
    request = HttpRequest(lab.authority("payments"), lab["east"].addresses.http)
    return all(request.send().served_by == "west" for _ in range(4))


@pytest.fixture
def lab(session_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab with every cluster ready, and nothing left of what the test before did to it. What its processes said is
    shown when the test fails."""
    session_lab.wait_ready()
    wait_until(lambda: _settled(session_lab), "west answers all that east asks: no slow start is under way")
    failed_before = request.session.testsfailed
    yield session_lab
    if request.session.testsfailed > failed_before:
        print(session_lab.last_words())
