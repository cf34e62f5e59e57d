"""A worker's SVID is renewed in time, and not asked for without end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.control import (
    Certificate,
)
from tests.gateway_ends import (
    wait_until,
    wall_clock,
)
from tests.worker_rig import (
    worker_at,
)
from trust.authority import Authority
from trust.keys import PrivateKey
from trust.svid import make_signing_request


async def test_a_certificate_is_renewed_in_time(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before half of its life, by the wall clock; and a controller that does not answer is asked again."""
    monkeypatch.setattr("gateway.worker.svid_renewal.CLOCK_CHECK_S", 0.01)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.ready()
        assert scene.boss.requests == 1
        svid = scene.worker._identity.svid
        assert svid is not None
        half = svid.not_before + (svid.not_after - svid.not_before) / 2
        monkeypatch.setattr(scene.worker._renewal, "_wall_clock", lambda: half)
        await wait_until(lambda: scene.boss.requests >= 2)
        await wait_until(lambda: scene.worker._identity.svid is not svid)


async def test_an_svid_that_nobody_renews_yet_is_not_asked_for_without_end(
    tmp_path: Path, authorities: dict[str, Authority]
) -> None:
    """A Workload API renews by its own clock: the answer to a request may be the SVID that we have, which is past the
    time at which we ask."""
    key = PrivateKey.generate()
    began = wall_clock() - timedelta(seconds=400)
    chain = authorities["east"].issue_gateway(make_signing_request(key), now=began, lifetime_s=600.0)
    async with worker_at(tmp_path, authorities["east"], certify=False) as scene:
        for answered in range(1, 4):
            await wait_until(lambda answered=answered: scene.boss.requests >= min(answered, 2))  # type: ignore[misc]
            await scene.boss.channel.send(Certificate(chain, key.expose_private_der()))
        await scene.settled()
        assert scene.worker._identity.svid is not None
        assert scene.boss.requests == 2
