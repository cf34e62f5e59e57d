"""The demo's story in eleven steps. Each step is a function of the lab and the teller, and leaves the lab as it was."""

from __future__ import annotations

import random

import msgspec

from gateway.demo.dns_client import DnsQuestion
from gateway.demo.http_client import HttpRequest
from gateway.demo.join_steps import join_by_token
from gateway.demo.lab import Lab
from gateway.demo.members import NAMESPACE, name_of
from gateway.demo.rotation_steps import rotate_a_root
from gateway.demo.survival_steps import lose_a_cluster, lose_etcd
from gateway.demo.tamper_steps import tamper
from gateway.demo.tcp_client import echo
from gateway.demo.teller import Teller
from gateway.demo.trust_steps import keep_private, prove_identity
from gateway.demo.waiting import wait_until

ECHO_BYTES = 50_000_000


def join(lab: Lab, teller: Teller) -> None:
    """Step 1."""
    teller.step("The clusters join, by their cluster.yaml files alone")
    for cluster in lab.clusters.values():
        teller.note(f"isthmus run -c {cluster.config_path}")
    lab.wait_ready()
    teller.command(f"isthmus status -c {lab['east'].config_path}")
    teller.saw(lab["east"].isthmus("status"))
    for cluster in lab.clusters.values():
        status = cluster.status()
        ready = sorted(peer.cluster for peer in status.peers if peer.ready)
        others = sorted(lab.clusters.keys() - {cluster.name})
        teller.check(f"{cluster.name} sees its peers ready", ready == others, ", ".join(ready))
        serving = sum(worker.ready for worker in status.workers)
        teller.check(f"{cluster.name} serves with two workers", serving == 2, f"{serving} workers")


def resolve(lab: Lab, teller: Teller) -> None:
    """Step 2."""
    teller.step("East's DNS knows payments, which runs in west and eu only")
    east = lab["east"]
    name, port = name_of("payments"), lab.numbers.client_ports["http"]
    for tcp in (False, True):
        transport = "TCP" if tcp else "UDP"
        question = DnsQuestion(name, east.addresses.dns, tcp=tcp)
        teller.command(question.command)
        answer = question.ask()
        vip = east.vip("payments")
        teller.check(f"an address of east's own range, over {transport}", answer.records == (vip,) and vip, answer)
        question = DnsQuestion(f"_http._tcp.{name}", east.addresses.dns, "SRV", tcp)
        teller.command(question.command)
        answer = question.ask()
        wanted = (port, f"{name}.")
        found = [(int(fields[2]), fields[3]) for record in answer.records if len(fields := record.split()) == 4]
        teller.check(f"SRV gives the port and the name, over {transport}", found == [wanted], answer)


def cross(lab: Lab, teller: Teller) -> None:
    """Step 3."""
    teller.step("HTTP crosses: asked in east, answered by west")
    east, authority = lab["east"], lab.authority("payments")
    for http2 in (False, True):
        version = "2" if http2 else "1.1"
        request = HttpRequest(authority, east.addresses.http, http2=http2)
        teller.command(request.command)
        answer = request.send_until("west")
        teller.check(
            f"HTTP/{version} to east's local listener, by authority",
            (answer.version, answer.status, answer.served_by) == (version, 200, "west"),
            answer,
        )
    vip = east.vip("payments")
    for http2 in (False, True):
        version = "2" if http2 else "1.1"
        request = HttpRequest(authority, f"{vip}:{authority.rpartition(':')[2]}", http2=http2, by_resolve=True)
        teller.command(request.command)
        answer = request.send_until("west")
        teller.check(
            f"HTTP/{version} to the virtual IP that DNS gave",
            (answer.version, answer.status, answer.served_by) == (version, 200, "west"),
            answer,
        )
    request = HttpRequest(authority, east.addresses.http, "/headers")
    teller.command(request.command)
    headers: dict[str, str] = msgspec.json.decode(request.send().body)
    source = headers.get("isthmus-source", "")
    teller.check("the service in west learns who asked", 'cluster="east"' in source, source)
    hops = headers.get("forwarded", "").count("for=")
    teller.check("and through whom: both gateways", hops == 2, headers.get("forwarded", ""))
    request = HttpRequest(authority, lab["eu"].addresses.http)
    teller.command(request.command)
    answer = request.send()
    teller.check("asked in eu, eu's own payments answers", answer.served_by == "eu", answer)


def carry_tcp(lab: Lab, teller: Teller) -> None:
    """Step 4."""
    teller.step("TCP crosses: ledger's virtual IP in east is a byte stream to another cluster")
    address = (lab["east"].vip("ledger"), lab.numbers.client_ports["tcp"])
    teller.command(f"nc {address[0]} {address[1]}      (what you type comes back)")
    for size_bytes in (1, ECHO_BYTES):
        result = echo(address, size_bytes, random.Random(size_bytes))
        held = result.unchanged and result.received_bytes == size_bytes
        teller.check("unchanged, both ways", held, result)
    served = _ledger_connections(lab)
    teller.check("they came in by west's mesh port", served >= 2, f"west counts {served:g} connections to ledger")


def _ledger_connections(lab: Lab) -> float:
    """How often west's gateway carried a connection to ledger for east."""

    def count() -> float:
        lines = lab["west"].metrics().splitlines()
        wanted = ("isthmus_requests_total{", 'source_cluster="east"', f'service="{NAMESPACE}/ledger"')
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in wanted))

    # Workers tell the controller once a second.
    return wait_until(lambda: count() if count() >= 2 else 0, "west has counted the connections")


STEPS = (
    join,
    resolve,
    cross,
    carry_tcp,
    prove_identity,
    keep_private,
    lose_a_cluster,
    lose_etcd,
    join_by_token,
    tamper,
    rotate_a_root,
)
