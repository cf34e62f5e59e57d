"""What a person should look at: each kind of trouble is named, and nothing is when all is well."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from discovery.model import ServiceName
from federation.errors import RefusalCode
from federation.refusals import Refusal
from federation.report import EtcdStatus, FederationStatus, PeerEtcdStatus
from federation.service_view import Conflict, ConflictReason, ServiceView
from federation.status.values import ProblemDocument
from gateway.control import Report
from gateway.status.problems import (
    configuration_problems,
    conflict_problems,
    connection_problems,
    endpoint_problems,
    federation_problems,
    frozen_problems,
    listener_problems,
    peer_problems,
    worker_problems,
)
from tests.status_documents import EU, WEST
from tests.unit.gateway.status.test_peers import WEST as WEST_STATUS

NOW = datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)

FINE = FederationStatus(
    federation="acme",
    cluster="east",
    trust_domain="east.acme.test",
    root="sha256:" + "00" * 32,
    gateway_id="east-1",
    bundle_sequence=1,
    etcd=EtcdStatus(True, "", {}, "", True, 3),
    peers=(WEST_STATUS,),
    strangers=("mars",),
    stray_keys=(),
    services=0,
    vips_exhausted=(),
    cache_complaints=(),
    transitions=(),
)


def shown(problems: Iterable[ProblemDocument]) -> list[tuple[str, str]]:
    return [(problem.kind, problem.subject) for problem in problems]


def test_another_cluster_of_our_name() -> None:
    """Both sides of such a mistake are told what to change."""
    ((kind, subject, message),) = [
        (problem.kind, problem.subject, problem.message)
        for problem in federation_problems(msgspec.structs.replace(FINE, namesakes=("gw-9",)))
    ]
    assert (kind, subject) == ("record", "east/gateways/gw-9")
    assert "another cluster.name than east" in message


def test_nothing_is_wrong() -> None:
    """A list that is never empty is not read; a stranger in the federation is nobody's mistake."""
    assert [*federation_problems(FINE)] == []
    assert [*peer_problems([WEST])] == []
    assert [*worker_problems(2, 2)] == []
    assert [*configuration_problems("")] == []
    assert [*connection_problems([Report([], {})], {}, NOW)] == []


def test_refused_records_are_named_with_their_reason() -> None:
    """By whose they are and where they lie, so that they can be found in etcd."""
    refusal = Refusal("exports/shop/x", RefusalCode.BAD_SIGNATURE, "the signature is not the key's", 1.0)
    status = msgspec.structs.replace(FINE, peers=(msgspec.structs.replace(WEST_STATUS, refusals=(refusal,)),))
    (problem,) = federation_problems(status)
    assert problem == ProblemDocument("record", "west/exports/shop/x", "bad-signature: the signature is not the key's")


def test_the_federations_troubles_are_of_their_kinds() -> None:
    """etcd both ways, strange keys, a used-up range, a damaged cache."""
    status = msgspec.structs.replace(
        FINE,
        etcd=EtcdStatus(False, "no answer", {}, "no leader", False, 0),
        peer_etcds=(
            PeerEtcdStatus(("eu", "mars"), False, "no answer", {}),
            PeerEtcdStatus(("west",), True, "", {}),
        ),
        stray_keys=("/isthmus/v1/acme/odd",),
        vips_exhausted=("shop/x",),
        cache_complaints=("west.json is damaged",),
    )
    assert shown(federation_problems(status)) == [
        ("etcd", "read"),
        ("etcd", "write"),
        ("etcd", "read eu, mars"),
        ("record", "/isthmus/v1/acme/odd"),
        ("service", "shop/x"),
        ("state", "catalog"),
    ]


@pytest.mark.parametrize(("skew_s", "told"), [(300.4, "300 s ahead of ours"), (-300.0, "300 s behind ours")])
def test_a_clock_that_is_wrong_is_told_with_its_size(skew_s: float, told: str) -> None:
    """Which of the two is wrong nobody knows; by how much, and what comes of it, is said."""
    west = msgspec.structs.replace(WEST_STATUS, clock_skew_s=skew_s, clock_is_wrong=True)
    (problem,) = federation_problems(msgspec.structs.replace(FINE, peers=(west,)))
    assert (problem.kind, problem.subject) == ("clock", "west")
    assert told in problem.message


def test_a_peer_that_floods_is_named() -> None:
    """With how much of it is taken, and what to do if it is meant."""
    west = msgspec.structs.replace(WEST_STATUS, imported=10, left_out=5, first_left_out="shop/x")
    (problem,) = federation_problems(msgspec.structs.replace(FINE, peers=(west,)))
    assert (problem.kind, problem.subject) == ("import", "west")
    assert "exports 15 services" in problem.message
    assert "5 are left out, shop/x is the first" in problem.message


def test_peers_that_are_not_ready_are_problems() -> None:
    """With the same sentence as in their own status."""
    assert [*peer_problems([EU, WEST])] == [ProblemDocument("peer", "eu", EU.problem)]


def test_each_line_of_a_refused_configuration_is_one() -> None:
    """A person corrects them one by one."""
    lines = "cluster.yaml:3: a: unknown key\ncluster.yaml:4: b: unknown key"
    assert [problem.message for problem in configuration_problems(lines)] == lines.splitlines()


def test_listeners_that_could_not_be_opened() -> None:
    """By the service and port that they are for."""
    failed = {"vip/shop/x/http": "cannot listen on 127.80.0.1:80: the address is in use"}
    assert shown(listener_problems(failed, [], 100)) == [("listener", "vip/shop/x/http")]


def test_thousands_without_an_address_or_a_listener_are_a_few_lines() -> None:
    """The first by name, and how many there are: a status of a hundred thousand lines is read by nobody."""
    exhausted = tuple(f"shop/s{number:05}" for number in range(30_000))
    problems = [*federation_problems(msgspec.structs.replace(FINE, vips_exhausted=exhausted))]
    assert [problem.subject for problem in problems] == [*exhausted[:8], "29992 more"]
    assert "they have no address" in problems[-1].message
    (waiting,) = listener_problems({}, [f"vip/{name}/http" for name in exhausted], 10_000)
    assert waiting.subject == "virtual IPs"
    assert "30000 ports" in waiting.message
    assert "vip/shop/s00000/http is the first" in waiting.message


def test_missing_workers() -> None:
    """How many of how many."""
    (problem,) = worker_problems(1, 2)
    assert problem.message.startswith("1 of 2 serve")


def test_refused_connections_are_counted_with_the_last_one_of_all_workers() -> None:
    """Of two workers' last refusals the later one counts, for ten minutes."""
    reports = [
        Report([], {}, refusals={"mesh: no-certificate": "2026-01-01T00:00:02Z 10.0.0.2:1: late"}),
        Report([], {}, refusals={"mesh: no-certificate": "2026-01-01T00:00:01Z 10.0.0.1:1: early"}),
    ]
    counts: dict[tuple[str, ...], float] = {("mesh", "no-certificate"): 3.0}
    late = ProblemDocument(
        "connection", "mesh: no-certificate", "3 refused; the last: 2026-01-01T00:00:02Z 10.0.0.2:1: late"
    )
    assert [*connection_problems(reports, counts, NOW)] == [late]
    assert [*connection_problems(reports, counts, NOW + timedelta(minutes=9))] == [late]


def test_refusals_of_long_ago_are_no_problem() -> None:
    """A peer is refused until it is believed: whoever looks for what is wrong now shall not find that for ever. The
    same holds for what workers have seen that are gone."""
    seen = "2026-01-01T00:00:02Z 10.0.0.2:1: late"
    reports = [Report([], {}, refusals={"mesh: no-certificate": seen})]
    counts: dict[tuple[str, ...], float] = {("mesh", "no-certificate"): 3.0, ("http", "overload"): 1.0}
    assert [*connection_problems(reports, counts, NOW + timedelta(minutes=11))] == []


def test_conflicts_are_shown_with_the_loser() -> None:
    """Whoever exported later has to change something."""
    conflict = Conflict("eu", ConflictReason.PORT_CONFLICT, "port 80/tcp (http) conflicts")
    view = ServiceView(ServiceName("shop", "x"), (), (), (conflict,))
    (problem,) = conflict_problems([view])
    assert problem.subject == "shop/x"
    assert problem.message == "PortConflict of eu: port 80/tcp (http) conflicts"


def test_workers_that_stood_still_and_authorities_that_cannot_be_read() -> None:
    """Both are named: nothing else would tell why a worker was replaced, or why an endpoint is not spoken to."""
    (frozen,) = frozen_problems({"w1-0": "w1-0 (pid 7) said nothing any more, and was killed"})
    assert (frozen.kind, frozen.subject) == ("worker", "w1-0")
    (service,) = endpoint_problems({ServiceName("shop", "payments"): "tls.ca_file /ca.pem: not there"})
    assert (service.kind, service.subject) == ("service", "shop/payments")
