"""Fixtures that any test may use."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from gateway.version import compiled
from tests.etcd_server import etcd_server, shared_etcd

__all__ = ["etcd_server", "shared_etcd"]

# No example is judged by how long it took: the machine may be busy. The rest is as hypothesis has it here or on CI.
settings.register_profile("isthmus", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("isthmus")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These tests run on the same source, interpreted."""
    if compiled():
        for item in items:
            if item.get_closest_marker("stand_in") is not None:
                item.add_marker(pytest.mark.skip(reason="the request path is compiled"))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that sets logging up, called inside the tests' process, must not log into the next test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
