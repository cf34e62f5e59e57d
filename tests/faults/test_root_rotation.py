"""A cluster's root is replaced while requests run, and its controller is killed in every stage of it: whole gateways
over a real etcd."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo.waiting import wait_until
from tests.etcd_server import EtcdServer
from tests.rotating import east_and_west, load_on, root_of, status, trust, wait_ready, wait_stage

pytestmark = [pytest.mark.processes, pytest.mark.long]


def test_a_root_is_rotated_under_load(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """No request fails from before the preparation until after the retirement, also with the controller killed in each
    stage; certificates are renewed several times meanwhile, and tunnels follow them. In the end the peer knows the new
    root alone, and says that its pin is of the old one; a gateway without its memory refuses, and says what to do."""
    with east_and_west(tmp_path, etcd_server) as (east, west):
        old = root_of(west)
        with load_on(east) as load:
            west.kill_controller()
            west.start()
            done = west.run("trust", "rotate")
            assert done.returncode == 0, done.stderr
            west.kill_controller()
            west.start()
            wait_stage(west, "active")
            west.kill_controller()
            west.start()
            wait_until(lambda: trust(west).roots[0].fingerprint != old, "the new root signs")
            wait_stage(west, "steady")
            after = load.account().sent
            wait_until(lambda: load.account().sent > after + 80, "the load goes on")
            account = load.stop()
        assert account.failures == ()
        (new,) = (root.fingerprint for root in trust(west).roots)
        assert new != old
        wait_until(lambda: [root.fingerprint for root in trust(east).peers[0].roots] == [new], "east knows it alone")
        assert not trust(east).peers[0].pin_is_current
        assert any(problem.kind == "trust" and new in problem.message for problem in status(east).problems)
        east.stop()
        east.start()
        wait_ready(east, west)  # It remembers, whatever its pin.
        east.stop()
        for path in [*(east.state_dir / "believed").iterdir(), *(east.state_dir / "catalog").glob("west*")]:
            path.unlink()
        east.start()
        refusal = wait_until(
            lambda: next((peer.problem for peer in status(east).peers if new in peer.problem), ""), "east refuses west"
        )
        assert old in refusal
        text = east.config_path.read_text()
        east.config_path.write_text(text.replace(old, new))
        wait_ready(east, west)


def test_a_rotation_waits_for_whoever_is_away(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """And names it; forced, it goes on, loudly. Who comes back while the old root is still in the bundle follows; the
    pin then follows in cluster.yaml, and no connection is lost for that."""
    with east_and_west(tmp_path, etcd_server, svid_lifetime="10m") as (east, west):
        east.stop()
        assert west.run("trust", "rotate").returncode == 0
        wait_until(lambda: "east" in trust(west).rotation.not_acknowledged, "east is named")  # type: ignore[union-attr]
        shown = west.run("trust", "status").stdout
        assert "waiting for:\n  east: " in shown
        assert west.run("trust", "rotate").returncode == 1
        done = west.run("trust", "rotate", "--force")
        assert done.returncode == 0, done.stderr
        assert "WARNING" in done.stderr
        wait_stage(west, "active")
        assert "FORCED: the rotation of the root goes on without east" in west.log
        east.start()
        wait_ready(east, west)
        old, new = (root.fingerprint for root in reversed(trust(west).roots))
        text = east.config_path.read_text()
        with load_on(east) as load:
            wait_until(lambda: load.account().by_cluster.get("west", 0) > 0, "west answers")
            east.config_path.write_text(text.replace(old, new))
            wait_until(lambda: trust(east).peers[0].pinned_root == new, "east has taken its file in")
            sent = load.account().sent
            wait_until(lambda: load.account().sent > sent + 40, "the load goes on")
            assert load.stop().failures == ()
