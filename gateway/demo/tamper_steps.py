"""The story's step 10: somebody writes into etcd what west never said."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime

import trio

from discovery.model import ServiceName
from federation import paths
from federation.etcd.client import EtcdClient, open_etcd
from federation.etcd.config import EtcdConfig
from federation.paths import BUNDLE, Layout, Path
from federation.record import next_sequence, sign_record
from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import Lab
from gateway.demo.load import Load
from gateway.demo.members import FEDERATION, NAMESPACE
from gateway.demo.teller import Teller
from gateway.demo.waiting import wait_until
from trust.authority import Authority
from trust.bundle import RecordKey, encode_bundle

_LAYOUT = Layout("/isthmus", FEDERATION)
_PAYMENTS = paths.export(ServiceName(NAMESPACE, "payments"))
_VAULT = paths.export(ServiceName(NAMESPACE, "vault"))
_WRONG = {str(_PAYMENTS): "bad-signature", str(_VAULT): "wrong-path", str(BUNDLE): "bad-chain"}


def tamper(lab: Lab, teller: Teller) -> None:
    """Step 10."""
    teller.step("Somebody who may write everything in etcd tampers with it: refused, named, and traffic goes on")
    east, west = lab["east"], lab["west"]
    controller = west.group.pid("gateway")
    with Load(east.addresses.http, lab.authority("payments")) as load:
        teller.command(f"kill -STOP {controller}      (west's controller, which would repair it at once)")
        os.kill(controller, signal.SIGSTOP)
        try:
            trio.run(_write, lab)
            for path, what in (
                (_PAYMENTS, "a changed byte"),
                (_VAULT, "payments' record, copied to another name"),
                (BUNDLE, "a bundle of west's name, by a CA of somebody else's"),
            ):
                teller.command(f"etcdctl put {_LAYOUT.key('west', path).decode()} …      ({what})")
            teller.command(f"isthmus status -c {east.config_path}")
            for place, code in _WRONG.items():
                seen = wait_until(lambda place=place: _refusal(lab, place), f"east refuses {place}")  # type: ignore[misc]
                teller.check("east refuses it, and its status names it", code in seen, seen)
            request = HttpRequest(lab.authority("payments"), east.addresses.http)
            teller.command(request.command)
            answer = request.send_until("west")
            teller.check("what west said before stays in use", answer.served_by == "west", answer)
        finally:
            os.kill(controller, signal.SIGCONT)
        teller.command(f"kill -CONT {controller}")
        wait_until(lambda: not any(_refusal(lab, place) for place in _WRONG), "west repairs what it said")
        teller.check("west's controller goes on, and puts right what it says", True)
        account = load.stop()
        failures = account.failures[0] if account.failures else account
        teller.check("no request failed from the beginning to the end", not account.failures, failures)
    lab.wait_ready()


def _refusal(lab: Lab, path: str) -> str:
    """What east's status says of a record of west's."""
    problems = lab["east"].status().problems
    return next((p.message for p in problems if p.kind == "record" and p.subject == f"west/{path}"), "")


async def _write(lab: Lab) -> None:
    async with open_etcd(EtcdConfig(endpoints=(lab.etcd.endpoint,))) as etcd:
        await etcd.wait_connected()
        record = await _read(etcd, _PAYMENTS)
        head, payload, signature = record.split(b".")
        other = b"A" if signature[:1] != b"A" else b"B"
        await etcd.put(_LAYOUT.key("west", _PAYMENTS), b".".join((head, payload, other + signature[1:])))
        await etcd.put(_LAYOUT.key("west", _VAULT), record)
        await etcd.put(_LAYOUT.key("west", BUNDLE), _forge_bundle(lab))


async def _read(etcd: EtcdClient, path: Path) -> bytes:
    kv = await etcd.get(_LAYOUT.key("west", path))
    assert kv is not None, "west exports it"
    return kv.value


def _forge_bundle(lab: Lab) -> bytes:
    """West's name, a later sequence, and a CA that somebody made: all that a thief of etcd's password can do."""
    now = datetime.now(UTC)  # noqa: TID251 - records and certificates are dated by the wall clock
    thief = Authority.load_or_create(lab.directory / "thief", lab["west"].member.trust_domain, now)
    return sign_record(
        encode_bundle(thief.bundle(1_000)),
        federation=FEDERATION,
        cluster="west",
        path=str(BUNDLE),
        sequence=next_sequence(-1, now.timestamp()) + 1_000_000,
        issued_at=now.timestamp(),
        key=thief.record_key,
        kid=RecordKey.of(thief.record_key.public_key).kid,
        chain=thief.record_chain,
    )
