"""`isthmus join` up to where it asks anybody, and from the answer on: what is refused by name before the token is used
up, and what is written. The way through etcd is in tests/e2e/test_join.py."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from federation.join_answer import AnswerCode, AnswerValue
from federation.join_token import JoinToken, encode_token
from gateway.cli import join, main
from gateway.cli.config_file import authority_or_fail, wall_clock
from gateway.cli.exit_codes import NEGATIVE, OK, USAGE, Failure
from gateway.config import load_config
from tests.join_parts import make_token
from tests.ports import free_port
from trust.authority import Authority

WEST = "federation: acme\n# ours\ncluster: {name: west, trust_domain: west.acme.test}\nstate_dir: ./state\n"
ETCD = "etcd: {endpoints: ['http://127.0.0.1:2379']}\n"
PEER = "peers:\n  eu: {{trust_domain: eu.acme.test, root: '{}'}} # by hand\n"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> JoinToken:
    """East's, for whoever comes within the hour."""
    now = datetime.fromtimestamp(wall_clock(), UTC)
    root = Authority.load_or_create(tmp_path_factory.mktemp("east") / "trust", "east.acme.test", now).fingerprint
    return msgspec.structs.replace(make_token(root), expires_at=wall_clock() + 3600)


def write(directory: Path, text: str) -> Path:
    path = directory / "cluster.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("changes", "text", "code"),
    [
        ({"federation": "other"}, WEST, "foreign"),
        ({"cluster": "west"}, WEST, "own"),
        ({"invited": "eu"}, WEST, "other-cluster"),
        ({"expires_at": 1_700_000_000.0}, WEST, "expired"),
        ({"prefix": "/elsewhere"}, WEST + ETCD, "etcd.prefix"),
    ],
)
def test_a_token_that_can_be_refused_here_is_refused_by_name(
    tmp_path: Path,
    token: JoinToken,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    text: str,
    code: str,
) -> None:
    """Before anybody is asked, and before a root is made or a line is written: the token stays good for whom it is."""
    path = write(tmp_path, text)
    given = encode_token(msgspec.structs.replace(token, **changes))
    assert main(["join", given, "-c", str(path)]) == USAGE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"token refused: {code}" in said
    assert given not in said
    assert path.read_text() == text
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda text: "hello", "not-a-token"),
        (lambda text: text[:40], "truncated"),
        (lambda text: text.replace("isthmus1", "isthmus9"), "other-version"),
        (lambda text: text[:30] + ("A" if text[30] != "A" else "B") + text[31:], "damaged"),
    ],
)
def test_text_that_is_no_token(
    tmp_path: Path,
    token: JoinToken,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[str], str],
    code: str,
) -> None:
    """Said by name, and never repeated: it may be nearly a secret. From standard input as from the command line."""
    path, text = write(tmp_path, WEST), harm(encode_token(token))
    for given in (text, "-"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert main(["join", given, "-c", str(path)]) == USAGE
        said = capsys.readouterr().err
        assert f"token refused: {code}: " in said
        assert text not in said
    assert path.read_text() == WEST


def test_a_clock_that_is_a_little_ahead_leaves_the_judgement_to_the_inviter(tmp_path: Path, token: JoinToken) -> None:
    """What is late by no more than clocks may differ is asked for all the same."""
    path = write(tmp_path, WEST)
    late = msgspec.structs.replace(token, expires_at=wall_clock() - 60)
    join._check(late, load_config(path), path)


def test_a_peer_that_is_there_with_another_root_is_not_asked(tmp_path: Path, token: JoinToken) -> None:
    """Somebody must look at that: it may be an impostor's token. With the same root it is the same peer again."""
    other = "sha256:" + "0" * 64
    for root, refused in ((other, True), (token.root, False)):
        path = write(tmp_path, WEST + f"peers:\n  east: {{trust_domain: east.acme.test, root: '{root}'}}\n")
        if not refused:
            assert join._prepare(token, load_config(path), path) == ""
            continue
        with pytest.raises(Failure, match=r"peers\.east is there already, with another trust domain or root") as caught:
            join._prepare(token, load_config(path), path)
        assert caught.value.status == USAGE


def test_a_change_that_would_not_be_valid_is_found_before_asking(tmp_path: Path, token: JoinToken) -> None:
    """A token that was used up for a file that then can't be written would have to be made again."""
    path = write(tmp_path, WEST)
    clash = msgspec.structs.replace(token, trust_domain="west.acme.test")
    with pytest.raises(Failure, match=r"with east as a peer, .* would not be valid") as caught:
        join._prepare(clash, load_config(path), path)
    assert caught.value.status == USAGE
    assert path.read_text() == WEST


@pytest.mark.parametrize("code", [AnswerCode.ACCEPTED, AnswerCode.PENDING])
@pytest.mark.parametrize("etcd", ["", ETCD])
def test_what_is_written_is_what_a_person_would_have_written(
    tmp_path: Path, token: JoinToken, capsys: pytest.CaptureFixture[str], code: AnswerCode, etcd: str
) -> None:
    """The peer with its pinned root, etcd where there was none, and nothing else changed; whoever has to accept is told
    what to compare and what to run."""
    path = write(tmp_path, WEST + etcd + PEER.format(token.root))
    config = load_config(path)
    lines = join._prepare(token, config, path)
    authority = authority_or_fail(config)
    assert join._write(token, config, path, authority, AnswerValue("0" * 64, code, ""), lines) == OK
    after = load_config(path)
    assert (after.peers["east"].trust_domain, after.peers["east"].root) == ("east.acme.test", token.root)
    assert after.peers.keys() == {"eu", "east"}
    assert after.etcd is not None
    assert [str(url) for url in after.etcd.endpoints] == ["http://127.0.0.1:2379"]
    assert {"# ours", "# by hand"} <= {line[line.find("#") :] for line in path.read_text().splitlines()}
    out = capsys.readouterr().out
    assert f"root {authority.fingerprint}\n" in out
    assert ("isthmus accept west" in out) == (code is AnswerCode.PENDING)
    assert ("needs a restart" in out) == (not etcd)


def test_a_layout_that_cannot_be_edited_gets_lines_to_paste(
    tmp_path: Path, token: JoinToken, capsys: pytest.CaptureFixture[str]
) -> None:
    """The request was made and stands: the command says what is left to do, and that it is not done."""
    text = WEST + f"peers:\n  ? eu\n  : {{trust_domain: eu.acme.test, root: '{token.root}'}}\n"
    path = write(tmp_path, text)
    config = load_config(path)
    lines = join._prepare(token, config, path)
    assert "east: {trust_domain: east.acme.test" in lines
    answer = AnswerValue("0" * 64, AnswerCode.ACCEPTED, "")
    assert join._write(token, config, path, authority_or_fail(config), answer, lines) == NEGATIVE
    assert lines in capsys.readouterr().out
    assert path.read_text() == text


def test_an_etcd_that_is_not_there_changes_nothing(
    tmp_path: Path, token: JoinToken, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, with the reason, and where no etcd is configured, with what may be missing."""
    monkeypatch.setattr(join, "_ANSWER_TIMEOUT_S", 0.2)
    url = f"http://127.0.0.1:{free_port()}"
    path = write(tmp_path, WEST)
    given = encode_token(msgspec.structs.replace(token, endpoints=(url,)))
    assert main(["join", given, "-c", str(path)]) == NEGATIVE
    said = capsys.readouterr().err
    assert url in said
    assert said.rstrip().endswith("write an etcd section first; nothing was changed")
    assert path.read_text() == WEST
