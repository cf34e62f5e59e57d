"""One lab for the session: etcd and three clusters as processes. A test that breaks something mends it again."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from gateway.demo.lab import Lab, open_lab


@pytest.fixture(scope="session")
def session_lab() -> Iterator[Lab]:
    with open_lab(random.Random(2)) as lab:
        lab.start()
        yield lab


@pytest.fixture
def lab(session_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab with every cluster ready, before and after the test. What its processes said is shown when it fails."""
    session_lab.wait_ready()
    failed_before = request.session.testsfailed
    yield session_lab
    if request.session.testsfailed > failed_before:
        print(session_lab.last_words())
