"""Fixtures that any test may use."""

from __future__ import annotations

from tests.etcd_server import etcd_server, shared_etcd

__all__ = ["etcd_server", "shared_etcd"]
