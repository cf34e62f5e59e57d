"""The RPCs that we call are those of etcd.proto."""

from __future__ import annotations

import pytest

from federation.etcd import etcd_pb2, methods
from federation.etcd.errors import EtcdError
from federation.etcd.methods import RANGE, Method

METHODS = {method.path: method for method in vars(methods).values() if isinstance(method, Method)}


def test_every_method_has_the_path_and_the_messages_of_its_service() -> None:
    """A path that etcd does not know is answered "unimplemented" at run time only."""
    declared = {
        f"/{service.full_name}/{method.name}": (method.input_type.name, method.output_type.name)
        for service in etcd_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    used = {path: (m.request.DESCRIPTOR.name, m.answer.DESCRIPTOR.name) for path, m in METHODS.items()}
    assert used == declared


def test_what_changes_something_is_marked() -> None:
    """The mark keeps a write from being sent twice."""
    writes = {path.rpartition("/")[2] for path, method in METHODS.items() if method.writes}
    assert writes == {"Put", "DeleteRange", "Txn", "LeaseGrant", "LeaseRevoke"}


def test_a_malformed_answer_is_an_error() -> None:
    """It must not raise protobuf's own exception past the client."""
    with pytest.raises(EtcdError, match="malformed") as caught:
        RANGE.parse(b"\xff\xff\xff")
    assert caught.value.code == "protocol"
