"""Both engines, each with a hand-written peer that it has greeted."""

from __future__ import annotations

import pytest

from gateway.codec.http2.engine import available_engines
from tests.http2_peer import Peer


@pytest.fixture(params=available_engines())
def server(request: pytest.FixtureRequest) -> Peer:
    peer = Peer(request.param, client=False)
    peer.greet()
    return peer


@pytest.fixture(params=available_engines())
def client(request: pytest.FixtureRequest) -> Peer:
    peer = Peer(request.param, client=True)
    peer.greet()
    return peer
