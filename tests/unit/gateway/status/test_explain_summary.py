"""The one line at the top: after each fault it must name the cause."""

from __future__ import annotations

import msgspec
import pytest

from gateway.failover.events import Cause
from gateway.failover.explanation import EjectionExplanation, GroupExplanation, LoadExplanation
from gateway.status.explain_merge import Merged, MergedEjection
from gateway.status.explain_summary import Circumstances, FailedCheck, summarize

EAST = GroupExplanation("east", "a", 0, "own zone", 3, 3, availability=1.0, share=1.0)
EAST_B = GroupExplanation("east", "b", 1, "own cluster", 1, 1, availability=1.0)
WEST = GroupExplanation("west", "", 2, "same region", 2, 2, tunnels=4, availability=1.0)
ABOUT = Circumstances("east", 1_000.0)
REFUSED = tuple(FailedCheck("tcp", "refused", for_s) for for_s in (11.0, 12.2, 11.9))


def merged(*groups: GroupExplanation, ejections: tuple[EjectionExplanation, ...] = (), **more: object) -> Merged:
    return msgspec.structs.replace(
        Merged(groups, tuple(MergedEjection(e, 1) for e in ejections), LoadExplanation(), False, "", "http", ()), **more
    )


def east(share: float, healthy: int = 3, **more: object) -> GroupExplanation:
    return msgspec.structs.replace(EAST, share=share, healthy=healthy, availability=healthy / 3, **more)


def west(share: float, **more: object) -> GroupExplanation:
    return msgspec.structs.replace(WEST, share=share, **more)


def ejected(where: str, until: float = 1_028.0) -> EjectionExplanation:
    return EjectionExplanation(where, until, 1, Cause.GATEWAY_ERRORS, 1.0)


@pytest.mark.parametrize(
    ("said", "about", "line"),
    [
        (merged(EAST, WEST), ABOUT, "east gets 100 %: own zone"),
        (
            merged(east(0.0, healthy=0), west(1.0)),
            msgspec.structs.replace(ABOUT, failed=REFUSED),
            "west gets 100 %: east has 0 of 3 healthy (tcp check refused since 12 s)",
        ),
        (
            merged(east(0.47, healthy=1), west(0.53)),
            msgspec.structs.replace(ABOUT, failed=(*REFUSED[:1], FailedCheck("tcp", "timeout", 3.0))),
            "east gets 47 %, west gets 53 %: east has 1 of 3 healthy (tcp check refused since 11 s, tcp check timeout "
            "since 3 s)",
        ),
        (
            merged(west(0.0, tunnels=0, rank=0), east(1.0, rank=1)),
            msgspec.structs.replace(ABOUT, link_problems={"west": "10.0.0.1:15443: Connection refused"}),
            "east gets 100 %: no tunnel to west is ready (10.0.0.1:15443: Connection refused)",
        ),
        (
            merged(west(0.0, rank=0), east(1.0, rank=1), ejections=(ejected("west"),)),
            ABOUT,
            "east gets 100 %: it is ejected in west for 28 s more (requests to it failed in a row without a good "
            "answer)",
        ),
        (
            merged(west(0.0, rank=0, healthy=0), east(1.0, rank=1)),
            ABOUT,
            "east gets 100 %: west has 0 of 2 healthy, says west",
        ),
        (
            merged(east(0.0, ejected=3), west(1.0), ejections=(ejected("127.0.0.1:9001"), ejected("127.0.0.1:9002"))),
            ABOUT,
            "west gets 100 %: 3 of 3 healthy endpoints of east are ejected (requests to it failed in a row without a "
            "good answer)",
        ),
        (
            merged(west(0.0, rank=0), east(1.0, rank=1)),
            msgspec.structs.replace(ABOUT, silent={"west": "stale for 45 s"}),
            "east gets 100 %: what west said is stale for 45 s",
        ),
        (
            merged(east(0.0, healthy=0), west(0.0, tunnels=0)),
            msgspec.structs.replace(ABOUT, failed=REFUSED),
            "nothing gets it, requests are refused: east has 0 of 3 healthy (tcp check refused since 12 s); no tunnel "
            "to west is ready",
        ),
        (
            merged(east(1.0, healthy=0), west(0.0, tunnels=0), panic=True),
            msgspec.structs.replace(ABOUT, failed=REFUSED),
            "east gets 100 %: east has 0 of 3 healthy (tcp check refused since 12 s); no tunnel to west is ready; so "
            "little is healthy that health is disregarded",
        ),
        (merged(), ABOUT, "nothing gets it, requests are refused: nobody has it"),
        (
            merged(west(0.14, rank=0, damping=0.1), east(0.86, rank=1)),
            ABOUT,
            "west gets 14 %, east gets 86 %: west has just come back and gets its share little by little",
        ),
        (
            merged(west(0.0, rank=0, damping=0.001, held_s=14.8), east(1.0, rank=1)),
            ABOUT,
            "east gets 100 %: west keeps going and coming, and is held back for 15 s more",
        ),
        (
            merged(west(0.7, rank=0, reachable=0.5), east(0.3, rank=1)),
            ABOUT,
            "west gets 70 %, east gets 30 %: only 50 % of the gateways of west answer",
        ),
        (
            merged(east(1.0, rank=0), west(0.0, rank=0, tunnels=0), policy="weights east 50, west 50"),
            ABOUT,
            "east gets 100 %: no tunnel to west is ready",
        ),
        (
            merged(west(0.5, rank=0), east(0.5, rank=1)),
            ABOUT,
            "west gets 50 %, east gets 50 %: max_share limits what west gets",
        ),
        (
            merged(east(0.5), west(0.5, rank=0), policy="affinity none"),
            ABOUT,
            "east gets 50 %, west gets 50 %: they share it, by failover.services: affinity none",
        ),
        (
            merged(east(0.6, healthy=1), west(0.4, healthy=0, total=2), panic=True),
            ABOUT,
            "east gets 60 %, west gets 40 %: east has 1 of 3 healthy; west has 0 of 2 healthy, says west; so little is "
            "healthy that health is disregarded",
        ),
    ],
)
def test_the_cause_is_in_one_line(said: Merged, about: Circumstances, line: str) -> None:
    """For every fault of the failover issue that leaves a trace in health, tunnels, ejections or freshness."""
    assert summarize(said, about) == line


def test_zones_of_the_own_cluster_are_one_place_to_a_person() -> None:
    """A spill from one zone to the next stays at home."""
    said = merged(east(0.7, healthy=2), msgspec.structs.replace(EAST_B, share=0.3), WEST)
    assert summarize(said, ABOUT) == "east gets 100 %: own zone"


def test_what_is_further_away_is_no_reason() -> None:
    """That eu has no tunnel does not matter while east serves."""
    eu = GroupExplanation("eu", "", 3, "failover.order 1", 0, 2)
    assert summarize(merged(EAST, WEST, eu), ABOUT) == "east gets 100 %: own zone"
