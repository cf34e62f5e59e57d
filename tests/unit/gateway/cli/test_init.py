"""`isthmus init`: what it writes works as it is, and nothing that is there is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import main
from gateway.config import validate_config
from gateway.config.template import yaml_text


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--federation", "acme", "--trust-domain", "east.acme.test", "--region", "us-east"],
        ["--etcd", "https://etcd-1.acme.test:2379", "--etcd", "http://127.0.0.1:2379"],
        ["--mesh", "127.0.0.1:15443"],
        ["--mesh", "[::1]:15443"],
        ["--mesh", "0.0.0.0:15443", "--advertise", "gw.east.acme.test:15443"],
    ],
)
def test_what_it_writes_is_valid_without_a_warning(tmp_path: Path, options: list[str]) -> None:
    """The first thing that a user sees of Isthmus is this file."""
    assert main(["init", "east", *options, "-d", str(tmp_path)]) == 0
    assert validate_config(tmp_path / "cluster.yaml").problems == ()


@pytest.mark.parametrize(("name", "other"), [("east", "west"), ("west", "east")])
def test_it_says_how_another_cluster_is_invited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, other: str
) -> None:
    """A cluster cannot invite itself, so the line to paste never says so."""
    assert main(["init", name, "-d", str(tmp_path)]) == 0
    assert f"isthmus invite {other} " in capsys.readouterr().out


def test_it_makes_the_root_that_it_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed fingerprint is that of the CA that `isthmus run` will use, and only this user can read its key."""
    assert main(["init", "east", "-d", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    config = validate_config(tmp_path / "cluster.yaml").require()
    from gateway.cli.config_file import load_authority

    assert f"root {load_authority(config).fingerprint}\n" in out
    assert config.state_dir.stat().st_mode & 0o777 == 0o700
    assert (config.state_dir / "trust" / "ca.key").stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the file nor the root: both may be in use."""
    (tmp_path / "cluster.yaml").write_text("mine")
    assert main(["init", "east", "-d", str(tmp_path)]) == 2
    assert (tmp_path / "cluster.yaml").read_text() == "mine"
    assert not (tmp_path / "state").exists()
    assert "left as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["East"], "cluster.name"),
        (["east\nfederation: x"], "cluster.name"),
        (["east", "--etcd", "etcd:2379"], "etcd.endpoints[0]"),
        (["east", "--etcd", 'http://x:1", "http://y:2'], "etcd.endpoints[0]"),
        (["east", "--mesh", "0.0.0.0:15443"], "gateway.advertise"),
    ],
)
def test_wrong_values_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """As `validate` would, and before anything is written."""
    assert main(["init", *arguments, "-d", str(tmp_path)]) == 2
    assert f"{said}: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["on", "no", "null", "123", "0x1f", "1e3", "true"])
def test_names_that_yaml_takes_for_something_else(tmp_path: Path, name: str) -> None:
    """A cluster may be called `no`."""
    assert main(["init", name, "-d", str(tmp_path)]) == 0
    assert validate_config(tmp_path / "cluster.yaml").require().cluster.name == name


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=20))
def test_any_text_is_written_as_that_text(text: str) -> None:
    """Nothing that a user types can become another key."""
    assert yaml.safe_load(f"key: {yaml_text(text)}    # comment\n") == {"key": text}
