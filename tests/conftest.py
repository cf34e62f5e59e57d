"""Fixtures that any test may use."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.etcd_server import etcd_server, shared_etcd

__all__ = ["etcd_server", "shared_etcd"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that sets logging up, called inside the tests' process, must not log into the next test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
