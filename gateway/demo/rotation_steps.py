"""The story's step 11: eu replaces its root, while it calls others."""

from __future__ import annotations

from federation.status.trust_values import PeerTrustDocument
from gateway.demo.lab import Cluster, Lab
from gateway.demo.load import Load
from gateway.demo.teller import Teller
from gateway.demo.waiting import seconds, wait_until

_TIMEOUT_S = 60.0


def rotate_a_root(lab: Lab, teller: Teller) -> None:
    """Step 11."""
    teller.step("Eu replaces its root under load: nobody does anything for it elsewhere, and nothing fails")
    east, eu = lab["east"], lab["eu"]
    old = eu.status().root
    with Load(eu.addresses.http, lab.authority("storefront")) as load:
        teller.note("4 HTTP/1.1 clients and one HTTP/2 client ask eu for storefront, which runs in east alone")
        wait_until(lambda: load.account().by_cluster.get("east", 0) > 0, "east answers")
        teller.command(f"isthmus trust rotate -c {eu.config_path}")
        began = seconds()
        teller.saw(eu.isthmus_trust("rotate"))
        wait_until(lambda: _signing(eu) != old, "the new root signs")
        teller.check("east and west have acknowledged it, and it signs", True, f"after {seconds() - began:.1f} s")
        teller.command(f"isthmus trust status -c {eu.config_path}")
        teller.saw(eu.isthmus_trust("status"))
        wait_until(lambda: _roots(eu) == [_signing(eu)], "the old root is gone", timeout_s=_TIMEOUT_S)
        new = _signing(eu)
        teller.check("its certificates have ended, and it is out of the bundle", new != old, f"{new[:23]}… is the root")
        wait_until(lambda: [root.fingerprint for root in _seen_by(east).roots] == [new], "east knows the new one alone")
        teller.check("east believes the new root alone, though its cluster.yaml pins the old one", True)
        answered = load.account().sent
        wait_until(lambda: load.account().sent > answered + 80, "the load goes on")
        account = load.stop()
        failures = account.failures[0] if account.failures else account
        teller.check("no request failed from the beginning to the end", not account.failures, failures)
    lab.wait_ready()


def _signing(cluster: Cluster) -> str:
    return cluster.status().root


def _roots(cluster: Cluster) -> list[str]:
    return [root.fingerprint for root in cluster.trust().roots]


def _seen_by(cluster: Cluster) -> PeerTrustDocument:
    return next(peer for peer in cluster.trust().peers if peer.cluster == "eu")
