"""A client of the session's etcd, and a key prefix of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from federation.etcd import EtcdClient, EtcdConfig, open_etcd
from tests.etcd_server import EtcdServer


@pytest.fixture
def prefix() -> bytes:
    return f"/{uuid.uuid4().hex}/".encode()


@pytest.fixture
async def client(shared_etcd: EtcdServer) -> AsyncIterator[EtcdClient]:
    async with open_etcd(EtcdConfig(endpoints=(shared_etcd.endpoint,))) as opened:
        yield opened
