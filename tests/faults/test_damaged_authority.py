"""The CA's directory was damaged, opened to others, or belongs to somebody else: the gateway says so and does not
start, and above all does not make a new root by itself."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forge import NOW
from trust.authority import Authority
from trust.errors import TrustError
from trust.keys import PrivateKey

EAST = "east.acme.test"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    Authority.load_or_create(tmp_path / "trust", EAST, NOW)
    return tmp_path / "trust"


def other_authority(tmp_path: Path, trust_domain: str = EAST) -> Path:
    Authority.load_or_create(tmp_path / "other", trust_domain, NOW)
    return tmp_path / "other"


def truncate(name: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        os.truncate(directory / name, 100)

    return damage


def take_from_another(*names: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        other = other_authority(directory.parent)
        for name in names:
            shutil.copy2(other / name, directory / name)

    return damage


def new_key(name: str) -> Callable[[Path], None]:
    return lambda directory: PrivateKey.generate().save(directory / name)


DAMAGES: list[tuple[str, str, Callable[[Path], object]]] = [
    ("malformed-key", "ca.key", truncate("ca.key")),
    ("malformed-key", "record.key", truncate("record.key")),
    ("malformed-chain", "ca.pem", truncate("ca.pem")),
    ("malformed-chain", "record.pem", truncate("record.pem")),
    ("malformed-key", "ca.key", lambda directory: os.truncate(directory / "ca.key", 0)),
    ("incomplete-authority", "ca.key is missing", lambda directory: (directory / "ca.key").unlink()),
    ("incomplete-authority", "ca.pem is missing", lambda directory: (directory / "ca.pem").unlink()),
    ("incomplete-authority", "record.key is missing", lambda directory: (directory / "record.key").unlink()),
    ("incomplete-authority", "record.pem is missing", lambda directory: (directory / "record.pem").unlink()),
    ("unsafe-permissions", "chmod 600", lambda directory: (directory / "ca.key").chmod(0o640)),
    ("unsafe-permissions", "chmod 600", lambda directory: (directory / "record.key").chmod(0o604)),
    ("unsafe-permissions", "chmod 700", lambda directory: directory.chmod(0o750)),
    ("key-mismatch", "ca.key", new_key("ca.key")),
    ("key-mismatch", "record.key", new_key("record.key")),
    ("key-mismatch", "ca.key", take_from_another("ca.pem")),
    ("malformed-chain", "restore all four from one backup", take_from_another("ca.pem", "ca.key")),
    (
        "malformed-chain",
        "record.pem",
        lambda directory: shutil.copy2(directory / "ca.pem", directory / "record.pem"),
    ),
    (
        "malformed-chain",
        "ca.pem",
        lambda directory: shutil.copy2(directory / "record.pem", directory / "ca.pem"),
    ),
]


@pytest.mark.parametrize(
    ("code", "says", "damage"), [pytest.param(*each, id=f"{at}-{each[0]}-{each[1]}") for at, each in enumerate(DAMAGES)]
)
def test_damage_is_named_and_nothing_is_made_anew(
    directory: Path, code: str, says: str, damage: Callable[[Path], object]
) -> None:
    """The message has the file and what to do."""
    damage(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(TrustError) as caught:
        Authority.load_or_create(directory, EAST, NOW)
    assert caught.value.code == code
    assert says in str(caught.value)
    assert str(directory) in str(caught.value)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_renamed_trust_domain_is_refused(directory: Path) -> None:
    """Every SVID would carry a name that the pinned root does not speak for."""
    with pytest.raises(TrustError, match=r"correct cluster\.trust_domain or state_dir") as caught:
        Authority.load_or_create(directory, "west.acme.test", NOW)
    assert caught.value.code == "foreign-authority"


def test_a_directory_of_other_things_is_not_taken(tmp_path: Path) -> None:
    """The directory is the authority's own; what lies there is not overwritten."""
    (tmp_path / "trust").mkdir(mode=0o700)
    (tmp_path / "trust" / "notes.txt").write_text("mine")
    with pytest.raises(TrustError) as caught:
        Authority.load_or_create(tmp_path / "trust", EAST, NOW)
    assert caught.value.code == "incomplete-authority"
    assert os.listdir(tmp_path / "trust") == ["notes.txt"]


def test_a_file_in_the_directorys_place(tmp_path: Path) -> None:
    """An error of ours with the path in it, not a bare OSError."""
    (tmp_path / "trust").write_text("")
    with pytest.raises(TrustError, match=r"/trust: ") as caught:
        Authority.load_or_create(tmp_path / "trust", EAST, NOW)
    assert caught.value.code == "unreadable-file"


def test_a_start_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    """A file can't be written whole, as on a full disk: no half of a CA, and no secret, stays behind."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A key's file is smaller than that, a certificate's is larger.
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, unlimited[1]))
    try:
        with pytest.raises(TrustError, match="File too large") as caught:
            Authority.load_or_create(tmp_path / "trust", EAST, NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert caught.value.code == "unreadable-file"
    assert os.listdir(tmp_path) == []
    assert Authority.load_or_create(tmp_path / "trust", EAST, NOW).trust_domain == EAST
