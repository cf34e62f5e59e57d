"""The story's step 9: a fourth cluster joins by token, is used, and leaves."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from federation.status.values import PendingDocument, StatusDocument
from gateway.demo.group import Group
from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import READY_TIMEOUT_S, Cluster, Lab
from gateway.demo.leash import Program
from gateway.demo.members import FEDERATION, NAMESPACE
from gateway.demo.numbers import free_vip_ranges
from gateway.demo.teller import Teller
from gateway.demo.waiting import wait_until
from gateway.status.addresses import read_addresses

_NAME = "asia"
_SHOWN_CHARACTERS = 24


def join_by_token(lab: Lab, teller: Teller) -> None:
    """Step 9."""
    teller.step("A fourth cluster, asia, joins east by token, and leaves again")
    east = lab["east"]
    with _newcomer(lab) as asia:
        asia.init(lab, teller)
        token = _invite(east, teller)
        _refuse_a_bad_paste(asia, token, teller)
        _join(asia, token, teller)
        _accept(east, asia, teller)
        _use(lab, asia, teller)
        _refuse_again(lab, asia, token, teller)
        asia.group.stop()
        teller.command(f"isthmus leave -c {asia.config_path}")
        left = asia.run("leave")
        teller.check("asia leaves: nothing of it is left in etcd", left.returncode == 0, left.stdout.splitlines()[0])


class _Newcomer:
    """A cluster that is made by the command line alone."""

    def __init__(self, lab: Lab) -> None:
        self.directory = lab.directory / _NAME
        self.config_path = self.directory / "cluster.yaml"
        self.state_dir = self.directory / "state" / _NAME
        line = [sys.executable, "-m", "gateway", "run", "-c", str(self.config_path)]
        self.group = Group(self.directory, [Program("gateway", line)])

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """One command, about this cluster's cluster.yaml."""
        return _run(*arguments, "-c", str(self.config_path), stdin=stdin)

    def init(self, lab: Lab, teller: Teller) -> None:
        options = ["--federation", FEDERATION, "--etcd", lab.etcd.endpoint, "--mesh", "127.0.0.1:0"]
        teller.command(f"isthmus init {_NAME} {' '.join(options)} -d {self.directory}")
        done = _run("init", _NAME, *options, "-d", str(self.directory))
        root = next((line for line in done.stdout.splitlines() if line.startswith("root ")), "")
        teller.check("it has a cluster.yaml and a trust root of its own", root, root)
        # As a person would on a machine where other clusters listen already: any free port, addresses of its own.
        names = {service.service_name for cluster in lab.clusters.values() for service in cluster.member.services}
        (network,) = free_vip_ranges(1, sorted(names), lab.numbers.client_ports.values(), random.Random())
        text = self.config_path.read_text().replace("127.80.0.0/16", str(network))
        for port in ("15080", "15053", "15000"):
            text = text.replace(f"127.0.0.1:{port}", "127.0.0.1:0")
        self.config_path.write_text(text.replace("gateway:\n", "gateway:\n  workers: 1\n", 1))

    def status(self) -> StatusDocument | None:
        done = self.run("status", "-o", "json")
        return msgspec.json.decode(done.stdout, type=StatusDocument) if done.returncode == 0 else None


def _run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, input=stdin)


@contextmanager
def _newcomer(lab: Lab) -> Iterator[_Newcomer]:
    """Ends it and removes its files at the end, whatever happened, and gives east its own configuration back."""
    newcomer = _Newcomer(lab)
    try:
        yield newcomer
    finally:
        newcomer.group.kill()
        lab["east"].write_config()
        shutil.rmtree(lab["east"].state_dir / "invitations", ignore_errors=True)
        shutil.rmtree(newcomer.directory, ignore_errors=True)


def _invite(east: Cluster, teller: Teller) -> str:
    teller.command(f"isthmus invite {_NAME} -c {east.config_path}")
    token = east.isthmus("invite", _NAME).strip()
    teller.saw(f"{token[:_SHOWN_CHARACTERS]}… ({len(token)} characters; it holds a secret)")
    return token


def _refuse_a_bad_paste(asia: _Newcomer, token: str, teller: Teller) -> None:
    teller.command(f"isthmus join - -c {asia.config_path}      (the token's last characters are missing)")
    done = asia.run("join", "-", stdin=token[:-4])
    teller.check("refused by name", done.returncode == 2 and "truncated" in done.stderr, done.stderr.strip())


def _join(asia: _Newcomer, token: str, teller: Teller) -> None:
    teller.command(f"isthmus join - -c {asia.config_path}      (the whole token)")
    done = asia.run("join", "-", stdin=token)
    teller.saw(done.stdout)
    teller.check("asia has east among its peers, and waits", done.returncode == 0, done.stderr.strip())


def _accept(east: Cluster, asia: _Newcomer, teller: Teller) -> None:
    def waiting() -> PendingDocument | None:
        return next((pending for pending in east.status().pending if pending.cluster == _NAME), None)

    pending = wait_until(waiting, "east's status shows asia waiting")
    before = {peer.cluster for peer in east.status().peers}
    teller.check("east's status shows asia, which is no peer yet", _NAME not in before, pending.root)
    teller.command(f"isthmus accept {_NAME} -c {east.config_path}")
    east.isthmus("accept", _NAME)
    asia.group.start()

    def ready() -> bool:
        if read_addresses(asia.state_dir) is None:
            return False
        seen = asia.status()
        theirs = seen is not None and any(peer.cluster == "east" and peer.ready for peer in seen.peers)
        return theirs and any(peer.cluster == _NAME and peer.ready for peer in east.status().peers)

    teller.check("both see each other ready", wait_until(ready, "east and asia are ready", timeout_s=READY_TIMEOUT_S))


def _use(lab: Lab, asia: _Newcomer, teller: Teller) -> None:
    """East exports storefront to asia: planned first, then done."""
    east = lab["east"]
    text, planned = east.config_path.read_text(), east.directory / "planned.yaml"
    planned.write_text(text.replace("to: [west, eu]", f"to: [west, eu, {_NAME}]"))
    teller.command(f"isthmus plan -c {planned}")
    plan = _run("plan", "-c", str(planned))
    teller.saw(plan.stdout)
    wanted = f"{_NAME} -> {NAMESPACE}/storefront in east"
    teller.check("the plan says who can reach what, and nothing else", plan.stdout.count("->") == 1, wanted)
    planned.replace(east.config_path)
    addresses = read_addresses(asia.state_dir)
    assert addresses is not None, "it is ready"
    request = HttpRequest(lab.authority("storefront"), addresses.http)
    teller.command(request.command)
    answer = wait_until(lambda: found if (found := request.send()).served_by else None, "asia reaches storefront")
    teller.check("asked in asia, answered by east", answer.served_by == "east", answer)


def _refuse_again(lab: Lab, asia: _Newcomer, token: str, teller: Teller) -> None:
    """Somebody else who got hold of the token is late, and is not asia."""
    text = asia.config_path.read_text()
    other = lab.directory / _NAME / "other.yaml"
    other.write_text(text.replace(f"state/{_NAME}", "state/other").replace("name: asia", "name: africa"))
    done = _run("join", "-", "-c", str(other), stdin=token)
    teller.check("nobody else can use the token", "refused: other-cluster" in done.stderr, done.stderr.strip())
