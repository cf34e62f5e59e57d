"""How contexts are set up, and that making one leaves no key behind. The handshakes are in tests/conformance."""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
from pathlib import Path
from typing import cast

import pytest

from tests.forge import Forge, p256, private_key_of
from trust.contexts import _file_in_memory, _file_on_disk, client_context, peer_chain, server_context
from trust.spiffe_id import gateway_id
from trust.svid import X509Svid, svid_from

CA = Forge.root("east")


@pytest.fixture(scope="module")
def svid() -> X509Svid:
    key = p256()
    return svid_from([CA.leaf(str(gateway_id("east.test")), key=key)], private_key_of(key))


def test_both_sides_take_tls_1_3_and_certificates_only(svid: X509Svid) -> None:
    """DESIGN section 6."""
    for context in (server_context(svid, [CA.der]), client_context(svid, [CA.der])):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.get_ca_certs(binary_form=True) == [CA.der], "the system's own roots are not among them"
    assert server_context(svid, [CA.der]).num_tickets == 0


def test_several_roots_or_none(svid: X509Svid) -> None:
    """A gateway that has no peer yet listens all the same, and lets nobody in."""
    roots = [CA.der, Forge.root("west").der]
    assert sorted(server_context(svid, roots).get_ca_certs(binary_form=True)) == sorted(roots)
    assert server_context(svid, []).get_ca_certs() == []


def test_one_bad_root_does_not_close_the_port(svid: X509Svid) -> None:
    """It came in one member's bundle, and the others have done nothing wrong."""
    context = server_context(svid, [b"garbage", CA.der, b""])
    assert context.get_ca_certs(binary_form=True) == [CA.der]


def test_no_key_is_left_on_disk(svid: X509Svid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor an open descriptor."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.listdir("/proc/self/fd")
    server_context(svid, [CA.der])
    assert os.listdir(tmp_path) == []
    assert os.listdir("/proc/self/fd") == before


def test_the_file_in_memory_has_no_name() -> None:
    """Nobody can open it by a path of the file system, also while it is there."""
    with _file_in_memory(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
        assert os.readlink(path).startswith("/memfd:")
    assert not Path(path).exists()


def test_the_file_on_disk_is_private_and_short_lived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems without memfd; also when loading fails."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fail() -> None:
        with _file_on_disk(b"secret") as path:
            assert Path(path).read_bytes() == b"secret"
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            raise ssl.SSLError("not a key")

    with pytest.raises(ssl.SSLError, match="not a key"):
        fail()
    assert os.listdir(tmp_path) == []


def test_where_only_the_leaf_can_be_had() -> None:
    """Interpreters other than CPython have neither the public nor the private method."""

    class Elsewhere:
        def __init__(self, leaf: bytes | None) -> None:
            self.leaf = leaf

        def getpeercert(self, binary_form: bool) -> bytes | None:
            assert binary_form
            return self.leaf

    assert peer_chain(cast("ssl.SSLObject", Elsewhere(b"leaf"))) == [b"leaf"]
    assert peer_chain(cast("ssl.SSLObject", Elsewhere(None))) == []
