"""What is added to a person's cluster.yaml: one place changes, everything else stays to the letter."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from gateway.config import parse_config
from gateway.config.edit import CannotEdit, add_etcd, add_peer, rewrite
from gateway.config.template import Beginning, first_config

_ROOT = "sha256:" + "ab" * 32
_HEAD = "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\n"
_EU = f'eu: {{trust_domain: eu.acme.test, root: "{_ROOT}"}}'

_SHAPES = {
    "no peers": _HEAD,
    "no end of line": _HEAD.rstrip("\n"),
    "from init": first_config(Beginning(cluster="east", federation="acme", trust_domain="east.acme.test")),
    "block": f"{_HEAD}peers:\n  {_EU}\n",
    "block of blocks": f'{_HEAD}peers:\n  eu:\n    trust_domain: eu.acme.test\n    root: "{_ROOT}"\n',
    "block with comments": f"{_HEAD}peers: # whom\n    # first\n    {_EU} # eu\n    # last\n\n# then\ndns: {{}}\n",
    "block at the end": f"{_HEAD}peers:\n  {_EU}",
    "not indented": f"{_HEAD}services: []\npeers:\n {_EU}\nimports:\n  from:\n    eu: []\n",
    "empty": f"{_HEAD}peers: {{}} # nobody\n",
    "flow": f"{_HEAD}peers: {{{_EU}}} # one\ndns: {{ttl: 5s}}\n",
    "flow over lines": f"{_HEAD}peers: {{\n  {_EU}, # one\n}}\n",
    "flow with a last comment": f"{_HEAD}peers: {{\n  {_EU} # one\n  }}\n",
    "all flow": f"{{federation: acme, cluster: {{name: east, trust_domain: east.acme.test}}, peers: {{{_EU}}}}}\n",
    "all flow, no peers": "{federation: acme, cluster: {name: east, trust_domain: east.acme.test}}\n",
    "windows": f"{_HEAD}peers:\n  {_EU}\n# end\n".replace("\n", "\r\n"),
    "not ascii": f"# Grüße, 世界 🌍\n{_HEAD}peers:\n  {_EU} # ü\n# ß\ndns: {{ttl: 5s}}\n",
    "indented": "".join(f"  {line}\n" for line in f"{_HEAD}peers:\n  {_EU}".splitlines()),
    "document start": f"---\n{_HEAD}",
}


@pytest.mark.parametrize("cluster", ["west", "no", "123"])
@pytest.mark.parametrize("shape", _SHAPES)
def test_a_peer_is_added(shape: str, cluster: str) -> None:
    """The result says the old and the new, every old line is still there, and a second time changes nothing."""
    before = _SHAPES[shape]
    after = add_peer(before, cluster, "west.acme.test", _ROOT)
    old = parse_config(before, Path("/etc/cluster.yaml")).require()
    new = parse_config(after, Path("/etc/cluster.yaml")).require()
    assert new.peers[cluster].root == _ROOT
    assert {**new.peers, **old.peers} == new.peers
    assert new.model_copy(update={"peers": old.peers}) == old
    assert add_peer(after, cluster, "west.acme.test", _ROOT) == after
    comments = [line.split("#", 1)[1] for line in before.splitlines() if "#" in line]
    assert comments == [line.split("#", 1)[1] for line in after.splitlines() if "#" in line]


@pytest.mark.parametrize("shape", [shape for shape in _SHAPES if "flow" not in shape and shape != "empty"])
def test_only_lines_are_added(shape: str) -> None:
    """A reviewer of the change sees nothing but the new peer."""
    before = _SHAPES[shape]
    marked = [
        line[0] for line in difflib.ndiff(before.splitlines(), add_peer(before, "west", "w.test", _ROOT).splitlines())
    ]
    assert set(marked) <= {" ", "+"}
    assert marked.count("+") <= 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{_HEAD}peers: &all {{{_EU}}}\nother: *all\n", "layout"),
        (f"{_HEAD}peers: {{west: {{trust_domain: other.test, root: '{_ROOT}'}}}}\n", "already"),
        (f"{_HEAD}peers: [west]\n", "mapping"),
        (f"{_HEAD}...\n", "layout"),
        (f"{_HEAD}dns: &a {{}}\nstatus: &a {{}}\n", "layout"),
        ("- a\n", "mapping"),
        ("a: [\n", "read"),
        ("", "mapping"),
    ],
)
def test_what_cannot_be_edited_comes_with_the_lines(text: str, why: str) -> None:
    """Nobody is left without a way: the message has what to paste."""
    with pytest.raises(CannotEdit, match=why) as caught:
        add_peer(text, "west", "west.acme.test", _ROOT)
    pasted = parse_config(_HEAD + caught.value.lines, Path("/etc/cluster.yaml")).require()
    assert pasted.peers["west"].root == _ROOT


def test_an_etcd_section_is_added_once() -> None:
    """And what is there is never touched: it has the operator's credentials."""
    text = add_etcd(_HEAD, ["http://127.0.0.1:2379", "https://etcd-2:2379"], "/isthmus")
    etcd = parse_config(text, Path("/etc/cluster.yaml")).require().etcd
    assert etcd is not None
    assert etcd.endpoints == ("http://127.0.0.1:2379", "https://etcd-2:2379")
    with pytest.raises(CannotEdit, match="already"):
        add_etcd(text, ["http://127.0.0.1:1"], "/isthmus")


def _add_west(text: str) -> str:
    return add_peer(text, "west", "west.acme.test", _ROOT)


def test_a_file_is_rewritten_in_one_step(tmp_path: Path) -> None:
    """Its mode stays, a link to it stays a link, and no draft is left."""
    real, link = tmp_path / "real.yaml", tmp_path / "cluster.yaml"
    real.write_text(_HEAD)
    real.chmod(0o640)
    link.symlink_to(real)
    assert rewrite(link, _add_west)
    assert not rewrite(link, _add_west)
    assert link.is_symlink()
    assert "west" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.yaml", "real.yaml"]


def test_what_would_not_be_valid_is_not_written(tmp_path: Path) -> None:
    """Another peer has that trust domain: the gateway would refuse the file as a whole."""
    path = tmp_path / "cluster.yaml"
    text = _HEAD + f"peers: {{eu: {{trust_domain: west.acme.test, root: '{_ROOT}'}}}}\n"
    path.write_text(text)
    with pytest.raises(CannotEdit, match="trust domain of eu"):
        rewrite(path, _add_west)
    assert path.read_text() == text
