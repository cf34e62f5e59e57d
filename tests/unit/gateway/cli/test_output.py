"""What the commands print for people, character by character.

Each text is a file in `tests/golden/cli`. After a change of wording,
`python -m tests.unit.gateway.cli.test_output` writes them anew: read the difference before keeping it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from federation.status.event_values import EventsDocument
from federation.status.service_values import ServicesDocument
from federation.status.values import (
    DiversionDocument,
    EtcdDocument,
    EtcdEndpointDocument,
    ListenerDocument,
    PeerEtcdDocument,
    PendingDocument,
)
from gateway.cli.event_feed import Missed
from gateway.cli.events import format_events, format_followed
from gateway.cli.explain import format_explanation
from gateway.cli.resolve import Answer, Resolution, format_resolution
from gateway.cli.services import format_services
from gateway.cli.status import format_status
from tests.status_documents import CART, EVENTS, EXPLANATION, MOMENT, PAYMENTS, FakeSource

_GOLDEN = Path(__file__).parents[3] / "golden" / "cli"

_WITHOUT_ETCD = EtcdDocument(
    False, "connection refused", False, "", True, (EtcdEndpointDocument("http://127.0.0.1:20000", "refused"),)
)
_MANY_LISTENERS = (
    ListenerDocument("mesh", "mesh", "0.0.0.0:15443"),
    ListenerDocument("dns-udp", "dns-udp", "127.0.0.1:15053"),
    ListenerDocument("dns-tcp", "dns-tcp", "127.0.0.1:15053"),
    ListenerDocument("vip/shop/payments/http", "vip", "127.80.0.9:80"),
)
_FOUND = Resolution(
    name="payments.shop.svc.clusterset.local",
    server="127.0.0.1:15053",
    transport="udp",
    found=True,
    answers=(
        Answer("payments.shop.svc.clusterset.local", "A", "NOERROR", 5, ("127.80.0.9",)),
        Answer("payments.shop.svc.clusterset.local", "AAAA", "NOERROR", None, ()),
        Answer(
            "_http._tcp.payments.shop.svc.clusterset.local",
            "SRV",
            "NOERROR",
            5,
            ("0 1 80 payments.shop.svc.clusterset.local.",),
        ),
    ),
    service=PAYMENTS,
)
_MISSING = Resolution(
    name="nope.shop.svc.clusterset.local",
    server="127.0.0.1:15053",
    transport="tcp",
    found=False,
    answers=(Answer("nope.shop.svc.clusterset.local", "A", "NXDOMAIN", None, ()),),
    service=None,
)

_PEER_ETCDS = (
    PeerEtcdDocument(("eu", "west"), True, "", (EtcdEndpointDocument("https://etcd.west.acme.test:2379", ""),)),
    PeerEtcdDocument(("mars",), False, "no route", (EtcdEndpointDocument("https://etcd.mars.test:2379", "no route"),)),
)

_PENDING = PendingDocument("asia", "asia.acme.test", "sha256:" + "ef" * 32, "0123456789abcdef", MOMENT)

_DIVERSIONS = (
    DiversionDocument(
        service="shop/cart",
        kind="ejected",
        where="127.0.0.1:9002",
        cause="consecutive-5xx",
        message="127.0.0.1:9002 gets no requests for a while: requests to it were answered with 5xx in a row",
        since=MOMENT,
        until=MOMENT,
        shares={},
        workers=2,
    ),
    DiversionDocument(
        service="shop/payments",
        kind="failed-over",
        where="eu",
        cause="tunnels",
        message="west gets nothing any more, eu takes over: tunnels to it ended or fell silent",
        since=MOMENT,
        until=None,
        shares={"eu": 1.0},
        workers=1,
    ),
)

TEXTS = {
    "status": format_status(FakeSource().status()),
    "status-pending": format_status(msgspec.structs.replace(FakeSource().status(), pending=(_PENDING,))),
    "status-diverted": format_status(msgspec.structs.replace(FakeSource().status(), diversions=_DIVERSIONS)),
    "status-alone-without-etcd": format_status(
        msgspec.structs.replace(
            FakeSource(ready=False, peers=()).status(),
            etcd=_WITHOUT_ETCD,
            peer_etcds=_PEER_ETCDS,
            listeners=_MANY_LISTENERS,
            region="",
            zone="",
            workers=(),
        )
    ),
    "services": format_services(ServicesDocument("east", (CART, PAYMENTS))),
    "services-none": format_services(ServicesDocument("east", ())),
    "resolve": format_resolution(_FOUND),
    "resolve-nothing": format_resolution(_MISSING),
    "explain": format_explanation(EXPLANATION),
    "explain-silent": format_explanation(
        msgspec.structs.replace(
            EXPLANATION,
            from_cluster="west",
            summary="none of 2 workers answered, so nobody knows where requests go",
            places=(),
            ejections=(),
            limits=(),
            endpoint_loads=(),
            retry_budget=None,
            endpoints=(),
            policy="",
            consumers=(),
            workers_answered=0,
            differences=("w1-0 did not answer in time",),
            events=(),
        )
    ),
    "events": format_events(EventsDocument("east", EVENTS[0].id, EVENTS[1].id, EVENTS)),
    "events-none": format_events(EventsDocument("east", 1, 0, ())),
    "events-followed": "".join(f"{format_followed(told)}\n" for told in (EVENTS[0], EVENTS[1], Missed(1, 7))),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_the_expected_one(name: str) -> None:
    """What a person reads is part of the interface."""
    assert TEXTS[name] == (_GOLDEN / f"{name}.txt").read_text()


if __name__ == "__main__":
    for name, text in TEXTS.items():
        (_GOLDEN / f"{name}.txt").write_text(text)
