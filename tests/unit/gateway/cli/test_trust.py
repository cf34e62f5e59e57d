"""`isthmus trust`, from its arguments to its exit status, against a status API and a directory of orders."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from federation.status.trust_values import OwnRootDocument, RevokedDocument, RotationDocument, TrustDocument
from gateway.cli import main
from gateway.cli.trust import format_trust
from gateway.status.addresses import Addresses, save_addresses
from gateway.trust_keeping.orders import OrderFiles, TrustAnswer, TrustOrder
from tests.status_documents import LATER, MOMENT, FakeSource
from tests.status_gateway import status_gateway

OLD, NEW = "sha256:" + "0a" * 32, "sha256:" + "0b" * 32
STEADY = RotationDocument("steady", None, False, (), {})
PREPARED = RotationDocument("prepared", MOMENT, False, ("west: it is away",), {"west": "it is away"})
ACTIVE = RotationDocument("active", MOMENT, False, ("certificates under the old root end in 9 s",), {})


def root(fingerprint: str, role: str) -> OwnRootDocument:
    return OwnRootDocument(fingerprint, role, MOMENT, LATER)


class Gateway(FakeSource):
    """Shows one rotation after another, each as often as it is asked for; the last one from then on."""

    def __init__(self, *rotations: RotationDocument | None) -> None:
        super().__init__()
        self.rotations = [*rotations]
        self.revoked = RevokedDocument((), ())

    def trust(self) -> TrustDocument:
        rotation = self.rotations.pop(0) if len(self.rotations) > 1 else self.rotations[0]
        roots = (root(OLD, "signing"), *([root(NEW, "next")] if rotation == PREPARED else []))
        return msgspec.structs.replace(super().trust(), roots=roots, rotation=rotation, revoked=self.revoked)


class Obeying:
    """Answers orders as a gateway would, in a thread; `orders` is what came."""

    def __init__(self, directory: Path, answer: TrustAnswer) -> None:
        self.orders: list[TrustOrder] = []
        self._files = OrderFiles(directory)
        self._answer = answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._obey, daemon=True)

    def __enter__(self) -> Obeying:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _obey(self) -> None:
        while not self._stop.wait(0.01):
            for id, order in self._files.take():
                self.orders.append(order)
                self._files.answer(id, self._answer)


@contextmanager
def gateway(directory: Path, *rotations: RotationDocument | None) -> Iterator[str]:
    """A running gateway's configuration and state directory; yields the configuration's path."""
    config = directory / "cluster.yaml"
    config.write_text(
        "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\nstate_dir: state\n"
        'status: {listen: "127.0.0.1:0"}\n'
    )
    state = directory / "state"
    state.mkdir()
    with status_gateway(Gateway(*rotations)) as address:
        save_addresses(state, Addresses(mesh="", http="", dns="", status=address))
        yield str(config)


def test_status_names_roots_stage_and_laggards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that a person needs who waits for a rotation: which root signs, since when, and for whom it waits."""
    with gateway(tmp_path, PREPARED) as config:
        assert main(["trust", "status", "-c", config]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "prepared since 2026-01-02T03:04:05Z" in out
    assert f"{OLD}  signing" in out
    assert f"{NEW}  next" in out
    assert "waiting for:\n  west: it is away" in out


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        ({"acknowledged_sequence": 4}, "yes"),
        ({"acknowledged_sequence": 3}, "3 of 4"),
        ({"acknowledged_sequence": None}, "no"),
        ({"acknowledged_sequence": None, "bundle_url": "https://west.test/"}, "can't: is in no etcd"),
    ],
)
def test_status_says_who_goes_by_our_bundle(peer: dict[str, int | str | None], said: str) -> None:
    """A peer that is followed by URL has nowhere to acknowledge it, which is no fault of its own."""
    trust = FakeSource().trust()
    shown = msgspec.structs.replace(trust.peers[0], **peer)
    text = format_trust(msgspec.structs.replace(trust, bundle_sequence=4, peers=(shown,)))
    assert re.search(rf"\nwest  3 +{said}  +current  ", text)


def test_nobody_goes_by_a_bundle_that_was_not_said_yet() -> None:
    """A gateway that has just begun has said nothing, so nobody can have taken it in."""
    trust = FakeSource().trust()
    peer = msgspec.structs.replace(trust.peers[0], acknowledged_sequence=None)
    text = format_trust(msgspec.structs.replace(trust, bundle_sequence=None, peers=(peer,)))
    assert re.search(r"\nwest  3 +no  ", text)


def test_status_as_json_is_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with gateway(tmp_path, STEADY) as config:
        assert main(["trust", "status", "-c", config, "-o", "json"]) == 0
    document = msgspec.json.decode(capsys.readouterr().out, type=TrustDocument)
    assert document.rotation == STEADY


def test_rotate_waits_until_it_is_done_and_tells_each_stage_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seconds that are left are no news; the root that peers shall pin is."""
    later = msgspec.structs.replace(ACTIVE, waiting_for=("certificates under the old root end in 8 s",))
    with (
        gateway(tmp_path, STEADY, PREPARED, PREPARED, ACTIVE, later, STEADY) as config,
        Obeying(tmp_path / "state", TrustAnswer(True, "the next root is in the bundle")) as obeying,
    ):
        assert main(["trust", "rotate", "--wait", "-c", config]) == 0
    assert obeying.orders == [TrustOrder("rotate")]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["the next root is in the bundle", "prepared: waits for west: it is away"]
    assert [line.partition(":")[0] for line in lines[2:]] == ["active", "steady", "done"]
    assert OLD in lines[-1]


def test_waiting_for_one_that_is_under_way_orders_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody else began it, or the command was interrupted."""
    with gateway(tmp_path, ACTIVE, ACTIVE, STEADY) as config, Obeying(tmp_path / "state", TrustAnswer(True, "")) as it:
        assert main(["trust", "rotate", "--wait", "-c", config]) == 0
    assert it.orders == []
    assert "done" in capsys.readouterr().out


def test_force_warns_and_names_who_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with gateway(tmp_path, PREPARED) as config, Obeying(tmp_path / "state", TrustAnswer(True, "goes on")) as obeying:
        assert main(["trust", "rotate", "--force", "-c", config]) == 0
    assert obeying.orders == [TrustOrder("rotate", force=True)]
    out, err = capsys.readouterr()
    assert "goes on" in out
    assert "WARNING" in err
    assert "Behind now: west" in err


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (["root", OLD.upper().replace("SHA", "sha")], TrustOrder("revoke-root", OLD)),
        (["gateway", "gw-1"], TrustOrder("revoke-gateway", "gw-1")),
    ],
)
def test_revoke_orders_it(tmp_path: Path, arguments: list[str], order: TrustOrder) -> None:
    """A fingerprint is read as people write it."""
    with gateway(tmp_path, STEADY) as config, Obeying(tmp_path / "state", TrustAnswer(True, "revoked")) as obeying:
        assert main(["trust", "revoke", *arguments, "-c", config]) == 0
    assert obeying.orders == [order]


def test_what_the_gateway_refuses_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with gateway(tmp_path, STEADY) as config, Obeying(tmp_path / "state", TrustAnswer(False, "that root is not ours")):
        assert main(["trust", "revoke", "root", OLD, "-c", config]) == 1
    assert "that root is not ours" in capsys.readouterr().err


def test_what_is_no_fingerprint_is_refused_here(tmp_path: Path) -> None:
    with gateway(tmp_path, STEADY) as config, Obeying(tmp_path / "state", TrustAnswer(True, "")) as obeying:
        assert main(["trust", "revoke", "root", "nothing", "-c", config]) == 2
    assert obeying.orders == []


def test_a_foreign_ca_is_rotated_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`trust.ca_dir`: who made its certificates replaces them."""
    with gateway(tmp_path, None) as config:
        assert main(["trust", "rotate", "-c", config]) == 1
        assert "trust.ca_dir" in capsys.readouterr().err
        assert main(["trust", "status", "-c", config]) == 0
    assert "not this cluster's own" in capsys.readouterr().out


def test_a_gateway_that_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is taken back, so that it is not obeyed when nobody expects it any more."""
    monkeypatch.setattr("gateway.cli.trust._ANSWER_TIMEOUT_S", 0.2)
    with gateway(tmp_path, STEADY) as config:
        assert main(["trust", "rotate", "-c", config]) == 3
    assert "the order was taken back" in capsys.readouterr().err
    assert OrderFiles(tmp_path / "state").take() == []
