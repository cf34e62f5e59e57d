"""The inviter's side with fakes for etcd only: real files, real signatures, a real cluster.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import trio

from federation.invitation import Invitation
from federation.invitation_files import InvitationFiles
from federation.join_answer import AnswerCode, AnswerValue, digest_of
from federation.join_request import make_request
from gateway.config import Config, load_config
from gateway.trust_keeping.admissions import Admissions
from tests.join_parts import NOW, make_authority, make_invitation, make_token
from trust.authority import Authority

_EAST = "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\nstate_dir: state\n"


class Etcd:
    """Implements `gateway.trust_keeping.admissions.Requests`."""

    def __init__(self) -> None:
        self.requests: dict[str, bytes] = {}
        self.answers: list[tuple[str, AnswerValue]] = []

    def join_requests(self) -> Mapping[str, bytes]:
        return self.requests

    def answer_join(self, joiner: str, answer: AnswerValue) -> None:
        self.answers.append((joiner, answer))

    async def wait_join_requests(self) -> None:
        await trio.sleep_forever()


class East:
    """An inviter. `reload` does what the controller's does with a good file."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "cluster.yaml"
        self.path.write_text(_EAST)
        (directory / "state").mkdir()
        self.files = InvitationFiles(directory / "state")
        self.etcd = Etcd()
        self.authority = make_authority(directory, "east")
        self.west = make_authority(directory, "west")
        self.config: Config = load_config(self.path)
        self.admissions = self.restarted()

    def restarted(self) -> Admissions:
        self.admissions = Admissions(
            files=self.files,
            requests=self.etcd,
            roots=lambda: (self.authority.fingerprint,),
            config=lambda: self.config,
            config_path=self.path,
            reload=self.reload,
        )
        return self.admissions

    def reload(self) -> None:
        self.config = load_config(self.path)

    def ask(self, cluster: str = "west", authority: Authority | None = None) -> bytes:
        raw = make_request(make_token(self.authority.fingerprint), authority or self.west, cluster, NOW)
        self.etcd.requests[cluster] = raw
        return raw

    def codes(self) -> list[AnswerCode]:
        return [answer.code for _, answer in self.etcd.answers]


@pytest.fixture
def east(tmp_path: Path) -> East:
    return East(tmp_path)


def test_a_request_waits_until_the_configuration_has_it(east: East) -> None:
    """Pending, shown with its root, answered once; then accepted by whoever wrote the entry."""
    east.files.create(make_invitation())
    raw = east.ask()
    for _ in range(3):
        east.admissions.look(NOW)
    assert [(i.id, j.cluster, j.root) for i, j in east.admissions.pending()] == [
        ("0123456789abcdef", "west", east.west.fingerprint)
    ]
    assert [(joiner, answer.request, answer.code) for joiner, answer in east.etcd.answers] == [
        ("west", digest_of(raw), AnswerCode.PENDING)
    ]
    east.path.write_text(f'{_EAST}peers: {{west: {{trust_domain: west.acme.test, root: "{east.west.fingerprint}"}}}}\n')
    east.reload()
    east.admissions.look(NOW + 1)
    assert east.admissions.pending() == []
    assert east.codes() == [AnswerCode.PENDING, AnswerCode.ACCEPTED]


def test_accept_auto_writes_the_entry(east: East) -> None:
    """At once, and only once: a peer that is removed by hand stays removed, whatever lies in etcd."""
    east.files.create(make_invitation(accept="auto"))
    east.ask()
    east.admissions.look(NOW)
    assert east.codes() == [AnswerCode.ACCEPTED]
    assert east.config.peers["west"].root == east.west.fingerprint
    east.path.write_text(_EAST)
    east.reload()
    east.restarted().look(NOW + 1)
    assert east.config.peers == {}
    assert east.codes()[-1] is AnswerCode.REMOVED
    assert east.admissions.pending() == []


def test_an_entry_that_cannot_be_written_is_left_to_the_operator(east: East) -> None:
    """It waits as if it were `accept: manual`, and status says why."""
    east.path.write_text("{" + _EAST.replace("\n", ", ").rstrip(", ") + ", peers: &x {}, imports: {from: *x}}\n")
    east.reload()
    east.files.create(make_invitation(accept="auto"))
    east.ask()
    for _ in range(2):
        east.admissions.look(NOW)
    assert east.codes() == [AnswerCode.PENDING]
    assert "could not write" in east.admissions.problems()["west"]
    assert len(east.admissions.pending()) == 1


def test_uses_are_counted_over_a_restart(east: East, tmp_path: Path) -> None:
    """Also when the first one's request is not in etcd any more."""
    east.files.create(make_invitation())
    east.ask()
    east.admissions.look(NOW)
    east.etcd.requests.clear()
    east.ask("north", make_authority(tmp_path, "north"))
    east.restarted().look(NOW + 1)
    assert east.codes() == [AnswerCode.PENDING, AnswerCode.USED_UP]
    assert east.admissions.refused["north"].startswith("used-up: ")


def test_what_cannot_be_remembered_did_not_happen(east: East, tmp_path: Path) -> None:
    """A full disk: no answer, because after a restart the use would not be counted."""
    east.files.create(make_invitation())
    east.ask()

    def full(invitation: Invitation) -> None:
        raise OSError(28, "No space left on device")

    working, east.files.update = east.files.update, full  # type: ignore[method-assign]
    east.admissions.look(NOW)
    assert east.etcd.answers == []
    assert "can't be written" in east.admissions.problems()["0123456789abcdef.json"]
    east.files.update = working  # type: ignore[method-assign]
    east.admissions.look(NOW)
    assert east.codes() == [AnswerCode.PENDING]


def test_an_unknown_invitation_is_not_answered(east: East) -> None:
    """Another gateway of this cluster may have made it. It is shown, and taken up when the file appears."""
    east.ask()
    east.admissions.look(NOW)
    assert east.etcd.answers == []
    assert "unknown-invitation" in east.admissions.refused["west"]
    east.files.create(make_invitation())
    east.admissions.look(NOW)
    assert east.codes() == [AnswerCode.PENDING]
    assert east.admissions.refused == {}


def test_removing_the_file_revokes(east: East, tmp_path: Path) -> None:
    """Also for those who wait, and for a request whose signatures were good before."""
    east.files.create(make_invitation())
    east.ask()
    east.admissions.look(NOW)
    (tmp_path / "state" / "invitations" / "0123456789abcdef.json").unlink()
    east.admissions.look(NOW)
    assert east.admissions.pending() == []
    assert "unknown-invitation" in east.admissions.refused["west"]


def test_a_request_that_is_gone_is_forgotten(east: East) -> None:
    """No problem is shown for what is not there."""
    east.ask()
    east.admissions.look(NOW)
    east.etcd.requests.clear()
    east.admissions.look(NOW)
    assert east.admissions.refused == {}


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 5000, b'{"id": "0123456789abcdef"}'])
def test_damaged_files_are_named(east: East, tmp_path: Path, content: bytes) -> None:
    """And do no harm to the others."""
    east.files.create(make_invitation())
    (tmp_path / "state" / "invitations" / "bad.json").write_bytes(content)
    east.ask()
    east.admissions.look(NOW)
    assert "remove it" in east.admissions.problems()["bad.json"]
    assert east.codes() == [AnswerCode.PENDING]


def test_files_are_for_their_owner_alone(east: East, tmp_path: Path) -> None:
    """Nothing in them is secret; who may change them may let clusters in."""
    east.files.create(make_invitation())
    directory = tmp_path / "state" / "invitations"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "0123456789abcdef.json").stat().st_mode & 0o777 == 0o600


def test_what_is_over_is_removed(east: East) -> None:
    """A day after it expired; files do not gather."""
    east.files.create(make_invitation())
    east.admissions.look(NOW + 3600 + 86_401)
    assert east.files.load() == {}
    assert msgspec.json.decode(msgspec.json.encode(make_invitation()), type=Invitation) == make_invitation()
