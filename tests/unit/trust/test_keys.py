"""Private keys keep to themselves, in memory and on disk."""

from __future__ import annotations

import copy
import os
import pickle
import stat
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.forge import pem_of
from trust.errors import TrustError
from trust.keys import PrivateKey


def code_of(caught: pytest.ExceptionInfo[TrustError]) -> str:
    return caught.value.code


def test_a_key_survives_its_file(tmp_path: Path) -> None:
    """Saved and loaded, it is the same key."""
    key = PrivateKey.generate()
    key.save(tmp_path / "ca.key")
    assert PrivateKey.load(tmp_path / "ca.key").public_key == key.public_key


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    """Whatever the umask says; and nothing else is left in the directory."""
    before = os.umask(0)
    try:
        PrivateKey.generate().save(tmp_path / "ca.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["ca.key"]


def test_saving_replaces_whole_files_only(tmp_path: Path) -> None:
    """A failed save leaves the old key and no copy of the new one."""
    target = tmp_path / "ca.key"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        PrivateKey.generate().save(target)
    assert os.listdir(tmp_path) == ["ca.key"]


def test_nothing_shows_the_secret() -> None:
    """Logs, tracebacks and message encoders must not be able to leak it by accident."""
    key = PrivateKey.generate()
    assert repr(key) == str(key) == "<PrivateKey P-256, redacted>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            leak(key)
    for encoder in (msgspec.json, msgspec.msgpack):
        with pytest.raises(TypeError):
            encoder.encode(key)


def test_signatures_have_the_form_of_es256() -> None:
    """RFC 7518 section 3.4: 64 bytes, r before s; checked by the other library function."""
    key = PrivateKey.generate()
    for message in (b"", b"record", bytes(100_000)):
        signature = key.sign(message)
        assert len(signature) == 64
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        key.public_key.verify(der, message, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(pem_of(ec.generate_private_key(ec.SECP384R1())), id="P-384"),
        pytest.param(pem_of(rsa.generate_private_key(65537, 2048)), id="RSA"),
        pytest.param(b"", id="empty"),
        pytest.param(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", id="garbage"),
    ],
)
def test_other_keys_are_refused(pem: bytes) -> None:
    """One algorithm everywhere; a key of another kind fails at once, not at the first signature."""
    with pytest.raises(TrustError) as caught:
        PrivateKey.from_pem(pem, where="here.key")
    assert code_of(caught) == "malformed-key"


def test_a_damaged_key_is_named_but_not_shown(tmp_path: Path) -> None:
    """The message goes to a log."""
    pem = PrivateKey.generate().expose_private_pem()
    path = tmp_path / "ca.key"
    path.write_bytes(pem[:-60])
    path.chmod(0o600)
    with pytest.raises(TrustError, match="truncated or damaged") as caught:
        PrivateKey.load(path)
    assert code_of(caught) == "malformed-key"
    assert str(path) in str(caught.value)
    assert pem.splitlines()[1].decode() not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_key_is_an_error_of_ours(tmp_path: Path) -> None:
    """Not an OSError that nobody catches."""
    with pytest.raises(TrustError, match="No such file") as caught:
        PrivateKey.load(tmp_path / "ca.key")
    assert code_of(caught) == "unreadable-file"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """It may have been copied already; going on silently would hide that."""
    path = tmp_path / "ca.key"
    PrivateKey.generate().save(path)
    path.chmod(mode)
    with pytest.raises(TrustError, match=f"mode {mode:04o}.*chmod 600") as caught:
        PrivateKey.load(path)
    assert code_of(caught) == "unsafe-permissions"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_key_is_refused(tmp_path: Path) -> None:
    """Its owner could change it under us."""
    path = tmp_path / "ca.key"
    PrivateKey.generate().save(path)
    os.chown(path, 12345, -1)
    with pytest.raises(TrustError, match="belongs to user 12345") as caught:
        PrivateKey.load(path)
    assert code_of(caught) == "unsafe-permissions"
