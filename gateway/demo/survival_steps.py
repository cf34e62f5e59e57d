"""The story's steps 7 and 8: a cluster dies under load, and etcd dies."""

from __future__ import annotations

import random

from gateway.demo.dns_client import DnsAnswer, DnsQuestion
from gateway.demo.group import living_members
from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import Lab
from gateway.demo.load import Load
from gateway.demo.members import INVOICES, NAMESPACE, name_of
from gateway.demo.tcp_client import echo
from gateway.demo.teller import Teller
from gateway.demo.waiting import pause, seconds, wait_until

_STEADY_ANSWERS = 40
"""So many answers in a row from one cluster count as steady."""
_UNSEEN_S = 1.5
"""How long a change that must not arrive is watched not to arrive: it takes some 100 ms otherwise."""


def lose_a_cluster(lab: Lab, teller: Teller) -> None:
    """Step 7."""
    teller.step("West dies under load: everything goes on in eu, and nothing fails")
    east, west = lab["east"], lab["west"]
    with Load(east.addresses.http, lab.authority("payments")) as load:
        teller.note("4 HTTP/1.1 clients and one HTTP/2 client ask east for payments, 80 times a second")
        _wait_for_answers(load, "west")
        account = load.account()
        teller.check("west answers: us-west is first in east's failover order", not account.failures, account)
        _kill_west(lab, teller)
        _wait_for_answers(load, "eu")
        pause(1.0)
        account = load.account()
        teller.check("eu has taken over, and no request failed", not account.failures, account)
        _check_without_west(lab, teller)
        began = seconds()
        west.start()
        teller.note("west starts again")
        wait_until(lambda: load.take_recent().get("west"), "west answers again")
        teller.check("west is used again", True, f"{seconds() - began:.1f} s after its start; its share grows slowly")
        account = load.stop()
        failures = account.failures[0] if account.failures else account
        teller.check("no request failed from the beginning to the end", not account.failures, failures)
    lab.wait_ready()


def _wait_for_answers(load: Load, cluster: str) -> None:
    """Until that cluster, and no other, answers for a while."""
    load.take_recent()
    seen: dict[str, int] = {}

    def steady() -> bool:
        for name, number in load.take_recent().items():
            seen[name] = seen.get(name, 0) + number
        if set(seen) - {cluster}:
            seen.clear()
        return seen.get(cluster, 0) >= _STEADY_ANSWERS

    wait_until(steady, f"{cluster} answers steadily")


def _kill_west(lab: Lab, teller: Teller) -> None:
    pids = living_members(lab["west"].group.id)
    teller.command(f"kill -KILL {' '.join(str(pid) for pid in sorted(pids))}")
    lab["west"].kill()


def _check_without_west(lab: Lab, teller: Teller) -> None:
    east = lab["east"]

    def problem() -> str | None:
        return next((peer.problem for peer in east.status().peers if peer.cluster == "west" and not peer.ready), None)

    teller.check("east's status says so", True, wait_until(problem, "east notices that west is gone"))
    size_bytes = 1_000_000
    result = echo((east.vip("ledger"), lab.numbers.client_ports["tcp"]), size_bytes, random.Random(7))
    teller.check("TCP goes on as well: ledger in eu", result.unchanged and result.received_bytes == size_bytes, result)


def lose_etcd(lab: Lab, teller: Teller) -> None:
    """Step 8."""
    teller.step("etcd dies: traffic and DNS go on, a change waits, and arrives when etcd is back")
    east, west = lab["east"], lab["west"]
    with Load(east.addresses.http, lab.authority("payments")) as load:
        teller.command(f"kill -KILL {lab.etcd.group.pid('etcd')}")
        lab.etcd.kill()
        for cluster in lab.clusters.values():
            wait_until(lambda c=cluster: not c.status().etcd.connected, f"{cluster.name} misses etcd")  # type: ignore[misc]
        teller.check("every cluster's status says that etcd is gone", True, east.status().etcd.error)
        _check_traffic(lab, teller)
        west.write_config([*west.member.services, INVOICES])
        teller.note(f"{west.config_path} gets another service: {INVOICES.name}, exported to east and eu")
        wait_until(lambda: f"{NAMESPACE}/{INVOICES.name}" in west.services(), "west takes its changed file in")
        pause(_UNSEEN_S)
        _check_unknown(lab, teller)
        began = seconds()
        lab.etcd.start()
        teller.note("etcd starts again")
        _check_known(lab, teller, began)
        lab.wait_ready()
        teller.check("all clusters see each other ready again", True, f"{seconds() - began:.1f} s after etcd's start")
        account = load.stop()
        failures = account.failures[0] if account.failures else account
        teller.check("no request failed from the beginning to the end", not account.failures, failures)
    west.write_config()
    wait_until(lambda: _ask_for_invoices(lab).rcode == "NXDOMAIN", "east forgets what west has withdrawn")
    teller.check("west's file as it was: east forgets the service", True, _ask_for_invoices(lab))


def _check_traffic(lab: Lab, teller: Teller) -> None:
    east = lab["east"]
    question = DnsQuestion(name_of("payments"), east.addresses.dns)
    teller.command(question.command)
    answer = question.ask()
    teller.check("DNS goes on", answer.records == (east.vip("payments"),) and answer.records[0], answer)
    request = HttpRequest(lab.authority("payments"), east.addresses.http)
    teller.command(request.command)
    http_answer = request.send()
    # West, which came back a moment ago, may still have a part of the share that is its own.
    teller.check("HTTP goes on", http_answer.served_by in {"west", "eu"}, http_answer)
    size_bytes = 1_000_000
    result = echo((east.vip("ledger"), lab.numbers.client_ports["tcp"]), size_bytes, random.Random(8))
    teller.check("TCP goes on", result.unchanged and result.received_bytes == size_bytes, result)


def _ask_for_invoices(lab: Lab) -> DnsAnswer:
    return DnsQuestion(name_of(INVOICES.name), lab["east"].addresses.dns).ask()


def _check_unknown(lab: Lab, teller: Teller) -> None:
    answer = _ask_for_invoices(lab)
    teller.check("west has it, and east does not know it yet", answer.rcode == "NXDOMAIN", answer)


def _check_known(lab: Lab, teller: Teller, began: float) -> None:
    answer = wait_until(
        lambda: found if (found := _ask_for_invoices(lab)).records else None, "east hears of the new service"
    )
    teller.check("east resolves it", answer.records, f"{answer}, {seconds() - began:.1f} s after etcd's start")
    request = HttpRequest(lab.authority(INVOICES.name), lab["east"].addresses.http)
    teller.command(request.command)
    http_answer = wait_until(
        lambda: found if (found := request.send()).status == 200 else None, "invoices answers east"
    )
    teller.check("and reaches it", http_answer.served_by == "west", http_answer)
