"""A peer exports far more than anybody expected of it."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path as FilePath

from discovery.model import ServiceName
from federation.import_cap import ImportLimits
from gateway.status.problems import import_problems
from tests.etcd_server import EtcdServer
from tests.federation_members import as_peers, local_service, make_authority, run_member, until


async def test_a_flood_is_cut_and_named_and_others_are_not_affected(
    tmp_path: FilePath, etcd_server: EtcdServer
) -> None:
    """What west exported first stays, whatever it adds; by services and by endpoints. Eu's are all there. A restarted
    reader, which hears of all at once, takes the same; higher limits let the rest in."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west", "eu")})
    url = etcd_server.endpoint
    limits = ImportLimits(max_services=6, max_endpoints=20)
    flood = [f"s{number:03}" for number in range(200)]
    random.Random(0).shuffle(flood)
    async with (
        run_member(tmp_path, "west", peers, url, services=(local_service("zz-old", endpoints=4),)) as west,
        run_member(tmp_path, "eu", peers, url, services=tuple(local_service(f"eu{n}") for n in range(6))),
    ):
        async with run_member(tmp_path, "east", peers, url, import_limits=limits) as east:
            await until(lambda: east.sees("zz-old", "west") and all(east.sees(f"eu{n}", "eu") for n in range(6)))
            west.federation.upsert_local(local_service("second", endpoints=10))
            await until(lambda: east.sees("second", "west"))
            for name in flood:
                west.federation.upsert_local(local_service(name, endpoints=2))
            # 4 + 10 + 2 + 2 + 2 endpoints: then the next does not fit.
            kept = {"zz-old", "second", *flood[:3]}
            await until(lambda: east.federation.status().peers[1].left_out == 197)
            seen = {name.name for name, view in east.federation.services().items() if view.exports[0].cluster == "west"}
            assert seen == kept
            assert all(east.sees(f"eu{n}", "eu") for n in range(6))
            (problem,) = import_problems(east.federation.status().peers)
            assert (problem.kind, problem.subject) == ("import", "west")
            assert f"197 are left out, shop/{flood[3]} is the first" in problem.message
            west.federation.remove_local(ServiceName("shop", "second"))
            # 4 endpoints and five services of 2: now the number of services is what ends it.
            await until(lambda: {*flood[:5], "zz-old"} <= {name.name for name in east.federation.services()})
            assert east.federation.status().peers[1].imported == 6
        async with run_member(tmp_path, "east", peers, url, import_limits=limits) as east:
            assert all(east.sees(name, "west") for name in flood[:5])
            await until(lambda: east.federation.status().etcd.synced)
            assert east.federation.status().peers[1].imported == 6
            assert all(east.sees(name, "west") for name in flood[:5])
            east.federation.configure(dataclasses.replace(east.settings, import_limits=ImportLimits()))
            assert (east.federation.status().peers[1].left_out, east.sees(flood[-1], "west")) == (0, True)
