"""What the gateway says of a service after a fault, as a person asks it: `isthmus explain`, and the events."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from federation.status.event_values import EventsDocument
from federation.status.explain_values import ExplanationDocument
from gateway.cli import main
from gateway.demo.waiting import NotInTime, wait_until
from tests.fault_rig.clusters import NAMESPACE, FaultLab, Gateway

TIMEOUT_S = 40.0


def explained(
    lab: FaultLab,
    holds: Callable[[ExplanationDocument], object],
    service: str = "payments",
    *,
    query: str = "",
    gateway: Gateway | None = None,
) -> ExplanationDocument:
    """What the gateway (the first cluster's) says once it is so; and prints it as the command does. Raises NotInTime
    with what it said last."""
    asked = gateway or lab.gateway
    seen: list[ExplanationDocument] = []

    def found() -> object:
        body = asked.ask(f"/v1/explain/{NAMESPACE}/{service}{query}")
        seen[:] = [msgspec.json.decode(body, type=ExplanationDocument)]
        return holds(seen[0])

    try:
        wait_until(found, "it is explained so", timeout_s=TIMEOUT_S)
    except NotInTime as error:
        raise NotInTime(f"{error}: {seen[0].summary if seen else ''}") from None
    asker = query.removeprefix("?from=") or seen[0].cluster
    main(["explain", f"{service}.{NAMESPACE}", "--from", asker, "--url", f"http://{asked.addresses.status}"])
    return seen[0]


def told(lab: FaultLab, *kinds: str, service: str = "payments", gateway: Gateway | None = None) -> None:
    """Waits until events of all of these kinds were told of the service. Raises NotInTime."""
    asked = gateway or lab.gateway

    def seen() -> bool:
        body = asked.ask(f"/v1/events?service={NAMESPACE}/{service}")
        return {*kinds} <= {event.kind for event in msgspec.json.decode(body, type=EventsDocument).events}

    wait_until(seen, f"events tell of {', '.join(kinds)}", timeout_s=TIMEOUT_S)
