"""`isthmus plan`, from its arguments to its exit status."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.cli import main
from gateway.cli.plan import Plan
from tests.ports import free_port
from tests.status_documents import FakeSource
from tests.status_gateway import status_gateway

_EAST = "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\n"
_WEST = 'peers:\n  west: {trust_domain: west.acme.test, root: "sha256:%s"}\n' % ("cd" * 32)


def _write(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


def test_two_equal_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0, as `diff` has it."""
    old, new = _write(tmp_path, "old.yaml", _EAST), _write(tmp_path, "new.yaml", "# mine\n" + _EAST)
    assert main(["plan", "-c", new, "--against", old]) == 0
    assert capsys.readouterr().out == f"nothing changes against {old}\n"


def test_two_different_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, a line for each change, the sum, and what needs a restart."""
    old = _write(tmp_path, "old.yaml", _EAST)
    new = _write(tmp_path, "new.yaml", _EAST + _WEST + "gateway: {vip_range: 127.90.0.0/16}\n")
    assert main(["plan", "-c", new, "--against", old]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"  + peer     west  trust_domain west.acme.test; root sha256:{'cd' * 32}",
        "  ~ setting  gateway.vip_range  127.80.0.0/16 -> 127.90.0.0/16",
        "1 to add, 1 to change, 0 to remove",
        "needs a restart of the gateway: gateway.vip_range",
    ]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: the same, whole."""
    old, new = (
        _write(tmp_path, "old.yaml", _EAST),
        _write(tmp_path, "new.yaml", _EAST + "gateway: {vip_range: 127.90.0.0/16}\n"),
    )
    assert main(["plan", "-c", new, "--against", old, "-o", "json"]) == 1
    plan = msgspec.json.decode(capsys.readouterr().out, type=Plan)
    assert plan.restart == ("gateway.vip_range",)
    assert [change.after for change in plan.changes] == [{"value": "127.90.0.0/16"}]


def test_against_a_running_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Removing a peer takes the names away that only it serves, with their addresses, and says who reached what."""
    with status_gateway(FakeSource()) as address:
        new = _write(tmp_path, "new.yaml", _EAST)
        assert main(["plan", "-c", new, "--against", f"http://{address}"]) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "- access east -> shop/payments in west ports 80/http" in lines
    assert "- name payments.shop.svc.clusterset.local address 127.80.0.9" in lines
    assert any(line.startswith("- peer west ") for line in lines)


def test_what_a_new_peer_brings_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan says so and does not pretend."""
    with status_gateway(FakeSource()) as address:
        new = _write(tmp_path, "new.yaml", _EAST + _WEST.replace("west", "north"))
        assert main(["plan", "-c", new, "--against", f"http://{address}"]) == 1
    assert "what north exports to this cluster is known only once it is a peer" in capsys.readouterr().out


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad file on either side is status 2, a gateway that is not there is 3: never 0 or 1."""
    good, bad = _write(tmp_path, "good.yaml", _EAST), _write(tmp_path, "bad.yaml", "federation: acme\n")
    assert main(["plan", "-c", bad, "--against", good]) == 2
    assert main(["plan", "-c", good, "--against", bad]) == 2
    assert main(["plan", "-c", good, "--against", f"http://127.0.0.1:{free_port()}"]) == 3
    own = _write(tmp_path, "own.yaml", f"{_EAST}status: {{listen: 127.0.0.1:{free_port()}}}\n")
    assert main(["plan", "-c", own]) == 3
    assert "bad.yaml" in capsys.readouterr().err
