"""What a record on disk is believed by without its signature, and what makes that end."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.seal import Seal, load_seal

FORM = bytes(32)
PLACE = ("west", "x.y", FORM, b"lines")


def test_a_seal_fits_what_it_was_made_for_and_nothing_else() -> None:
    """Each part counts: another cluster, key, form or byte is another message, as is the same text cut elsewhere."""
    seal = Seal(bytes(32)).make(*PLACE)
    assert Seal(bytes(32)).fits(seal, *PLACE)
    assert not Seal(bytes(32)).fits(seal, "eu", "x.y", FORM, b"lines")
    assert not Seal(bytes(32)).fits(seal, "west", "x.z", FORM, b"lines")
    assert not Seal(bytes(32)).fits(seal, "west", "x.y", b"\1" * 32, b"lines")
    assert not Seal(bytes(32)).fits(seal, "west", "x.y", FORM, b"lines\n")
    assert not Seal(bytes(32)).fits(seal, "westx", ".y", FORM, b"lines")
    assert not Seal(b"\1" * 32).fits(seal, *PLACE)
    assert not Seal(bytes(32)).fits("", *PLACE)
    assert not Seal(bytes(32)).fits("é", *PLACE)


def test_the_key_stays_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "seal.key"
    made = load_seal(file).make(*PLACE)
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_seal(file).fits(made, *PLACE)
    assert "redacted" in repr(load_seal(file))


@pytest.mark.parametrize("harm", ["short", "readable", "gone", "directory"])
def test_a_key_that_is_no_good_is_replaced(tmp_path: Path, harm: str) -> None:
    """What was sealed with it is verified by its signature once more; nothing raises."""
    file = tmp_path / "seal.key"
    made = load_seal(file).make(*PLACE)
    if harm == "short":
        file.write_bytes(b"short")
    elif harm == "readable":
        file.chmod(0o644)
    else:
        file.unlink()
        if harm == "directory":
            file.mkdir()
    assert not load_seal(file).fits(made, *PLACE)
    if harm != "directory":
        again = load_seal(file).make(*PLACE)
        assert load_seal(file).fits(again, *PLACE)
