"""From cluster.yaml's etcd sections to what the etcd client takes."""

from __future__ import annotations

from pathlib import Path

from federation.etcd.config import EtcdConfig
from federation.settings import EtcdSource
from gateway.config import Config, load_config
from gateway.controller.etcd_access import peer_source
from gateway.controller.settings import federation_settings

_OURS = "{endpoints: [http://127.0.0.1:2379], prefix: /ours}"
_THEIRS = "{endpoints: [https://etcd-1:2379], ca_file: ca.crt, username: reader, password_file: password}"


def _config(directory: Path) -> Config:
    """West shares our etcd, eu says so in as many words, and asia and africa are read in one of their own."""
    for name in ("ca.crt", "password"):
        (directory / name).write_text("secret\n")
        (directory / name).chmod(0o600)
    peers = "".join(
        f"  {name}:\n    trust_domain: {name}.acme.test\n    root: sha256:{'ab' * 32}\n"
        + (f"    etcd: {section}\n" if section else "")
        for name, section in (("west", ""), ("eu", _OURS), ("asia", _THEIRS), ("africa", _THEIRS))
    )
    path = directory / "cluster.yaml"
    path.write_text(
        "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\n" + f"etcd: {_OURS}\npeers:\n{peers}"
    )
    return load_config(path)


def test_a_peer_is_read_in_ours_unless_its_section_says_otherwise(tmp_path: Path) -> None:
    """The same section as ours is ours, so that one connection serves both; equal sections are one etcd."""
    config = _config(tmp_path)
    assert peer_source(config, "west") is peer_source(config, "eu") is None
    access = EtcdConfig(
        endpoints=("https://etcd-1:2379",), ca_file=str(tmp_path / "ca.crt"), username="reader", password="secret"
    )
    assert peer_source(config, "asia") == peer_source(config, "africa") == EtcdSource(access, "/isthmus")


def test_the_settings_have_every_peers_etcd_and_no_secret_in_their_repr(tmp_path: Path) -> None:
    """Settings may end in a log."""
    settings = federation_settings(_config(tmp_path))
    assert settings.prefix == "/ours"
    assert {name for name, peer in settings.peers.items() if peer.etcd is not None} == {"asia", "africa"}
    assert "secret" not in repr(settings)
