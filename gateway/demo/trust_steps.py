"""The story's steps 5 and 6: who is let in, and what stays private."""

from __future__ import annotations

import msgspec

from federation.status.values import StatusDocument
from gateway.demo.dns_client import DnsQuestion
from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import Lab
from gateway.demo.members import name_of
from gateway.demo.mesh_client import (
    forgers_svid,
    gateway_svid,
    get_over_mesh,
    openssl_line,
    save_svid,
    strangers_svid,
    svid_context,
    try_mesh,
    why_refused,
    workload_svid,
)
from gateway.demo.teller import Teller
from gateway.demo.waiting import wait_until
from trust.spiffe_id import gateway_id


def prove_identity(lab: Lab, teller: Teller) -> None:
    """Step 5."""
    teller.step("What crosses is mutual TLS 1.3 between SPIFFE identities, and nobody else gets in")
    east, west = lab["east"], lab["west"]
    west_id = str(gateway_id(west.member.trust_domain))
    teller.command(f"isthmus status -c {east.config_path} -o json      (peers, data, spiffe_ids)")
    status = msgspec.json.decode(east.isthmus("status", "-o", "json"), type=StatusDocument)
    shown = next(peer.data.spiffe_ids for peer in status.peers if peer.cluster == "west")
    teller.check("east's tunnels to west end at", shown == (west_id,), ", ".join(shown))
    svid = gateway_svid(east.authority)
    pem = lab.directory / "east-gateway.pem"
    save_svid(svid, pem)
    teller.command(openssl_line(west.addresses.mesh, pem))
    answer = try_mesh(west.addresses.mesh, svid_context(svid, west.authority.root_der))
    teller.check("a gateway's certificate of east is let in", not answer.refused, svid.spiffe_id)
    teller.check("over TLS 1.3", answer.tls_version == "TLSv1.3", f"{answer.tls_version}, {answer.cipher}")
    teller.check("by west's gateway", answer.peer == west_id, answer.peer)
    _refuse_others(lab, teller)


def _refuse_others(lab: Lab, teller: Teller) -> None:
    east, west = lab["east"], lab["west"]
    address, root = west.addresses.mesh, west.authority.root_der
    teller.command(openssl_line(address, None))
    _check_refused(teller, "no certificate", why_refused(address, None, None, root))
    others = {
        "another trust domain's certificate": strangers_svid(lab.directory / "stranger"),
        "a certificate with east's name, from a CA of its own": forgers_svid(
            lab.directory / "forger", east.member.trust_domain
        ),
        "a certificate of east that is not a gateway's": workload_svid(
            east.state_dir / "trust", east.member.trust_domain
        ),
    }
    for number, (what, svid) in enumerate(others.items(), start=1):
        pem = lab.directory / f"outsider-{number}.pem"
        save_svid(svid, pem)
        teller.command(openssl_line(address, pem))
        _check_refused(teller, f"{what} ({svid.spiffe_id})", why_refused(address, svid, pem, root))
    wanted = {"mesh: no-certificate", "mesh: unknown-authority", "mesh: not-a-gateway"}

    def named() -> set[str] | None:
        seen = {problem.subject for problem in west.status().problems if problem.kind == "connection"}
        return seen if wanted <= seen else None

    # Workers tell the controller once a second.
    seen = wait_until(named, f"west's status names {', '.join(sorted(wanted))}")
    teller.check("west's status names what it refused", wanted <= seen, ", ".join(sorted(seen)))


def _check_refused(teller: Teller, what: str, reason: str) -> None:
    teller.check(f"refused: {what}", reason, reason or "it was let in")


def keep_private(lab: Lab, teller: Teller) -> None:
    """Step 6."""
    teller.step("audit in west is exported to eu alone: for east there is no such thing")
    east, west, eu = lab["east"], lab["west"], lab["eu"]
    name, authority = name_of("audit"), lab.authority("audit")
    question = DnsQuestion(name, eu.addresses.dns)
    teller.command(question.command)
    found = question.ask()
    teller.check("eu resolves it", found.records == (eu.vip("audit"),) and found.records[0], found)
    request = HttpRequest(authority, eu.addresses.http)
    teller.command(request.command)
    answer = request.send()
    teller.check("eu reaches it", (answer.status, answer.served_by) == (200, "west"), answer)
    for tcp in (False, True):
        question = DnsQuestion(name, east.addresses.dns, tcp=tcp)
        teller.command(question.command)
        missing = question.ask()
        transport = "TCP" if tcp else "UDP"
        teller.check(f"east has no such name, over {transport}", missing.rcode == "NXDOMAIN", missing)
    request = HttpRequest(authority, east.addresses.http)
    teller.command(request.command)
    answer = request.send()
    teller.check("east's gateway has no route to it", answer.status == 404 and not answer.served_by, answer)
    svid = gateway_svid(east.authority)
    context = svid_context(svid, west.authority.root_der)
    allowed = get_over_mesh(west.addresses.mesh, context, lab.authority("payments"))
    answer = get_over_mesh(west.addresses.mesh, context, authority)
    teller.note(f"straight to west's mesh port, as {svid.spiffe_id}:")
    teller.check("payments, which east may use, answers", allowed.served_by == "west", allowed)
    teller.check("audit does not", answer.status == 404 and not answer.served_by, answer)
    # The same words for what is not there and for what is not for us: neither tells more than the other.
    unknown = get_over_mesh(west.addresses.mesh, context, lab.authority("no-such-thing"))
    alike = answer.body.replace(b"audit", b"no-such-thing") == unknown.body and unknown.status == answer.status
    teller.check("and can't be told from what does not exist", alike, unknown)
