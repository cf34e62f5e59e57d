"""What a plan says of a change, and what it says of none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from discovery.config import ServiceConfig
from discovery.model import ServiceName
from federation.status.service_values import ServiceDocument
from gateway.config import Config, parse_config
from gateway.config.plan import Change, apply, diff
from gateway.config.plan_state import catalog_state, config_state, kept_catalog, names_state, settings_state
from tests.status_documents import CART, PAYMENTS

_BASE = """\
federation: acme
cluster: {name: east, trust_domain: east.acme.test}
gateway: {mesh: 127.0.0.1:15443}
peers:
  west: {trust_domain: west.acme.test, root: "sha256:ROOT"}
services:
- namespace: shop
  name: cart
  ports: [{name: http, port: 80, protocol: http}]
  endpoints: [{address: 10.0.0.1, port: 9001}]
  export: {to: [west]}
""".replace("ROOT", "ab" * 32)


def _config(text: str) -> Config:
    return parse_config(text, Path("/etc/isthmus/cluster.yaml")).require()


def _changes(before: str, after: str) -> dict[tuple[str, str, str], Change]:
    changes = diff(config_state(_config(before)), config_state(_config(after)))
    return {(change.action, *change.key): change for change in changes}


def test_the_same_file_changes_nothing() -> None:
    """Whatever its spelling: comments and defaults that are written out are no change."""
    assert _changes(_BASE, _BASE + "dns: {ttl: 5000ms} # the default\n") == {}


def test_an_export_says_who_can_reach_what() -> None:
    """Taken back from one peer, nobody else reaches it; and nothing else is named."""
    assert list(_changes(_BASE, _BASE.replace("to: [west]", "to: []"))) == [
        ("remove", "access", "west -> shop/cart in east")
    ]


def test_a_star_names_each_peer_and_those_to_come() -> None:
    """A new peer gets what is exported to everybody: its own lines say so."""
    star = _BASE.replace("to: [west]", 'to: ["*"]')
    assert list(_changes(_BASE, star)) == [("add", "access", "any later peer -> shop/cart in east")]
    root = "cd" * 32
    more = star.replace("peers:\n", f'peers:\n  eu: {{trust_domain: eu.acme.test, root: "sha256:{root}"}}\n')
    assert list(_changes(star, more)) == [("add", "access", "eu -> shop/cart in east"), ("add", "peer", "eu")]


def test_who_is_named_and_no_peer_yet_is_told_apart() -> None:
    """The export stands from the moment that eu is a peer: a plan that said nothing of it would hide that."""
    both = _BASE.replace("to: [west]", "to: [west, eu]")
    eu = "eu, no peer yet, -> shop/cart in east"
    assert list(_changes(_BASE, both)) == [("add", "access", eu)]
    pattern = "spiffe://DOMAIN/ns/web/sa/*"
    allowed = both.replace("to: [west, eu]", f'to: [west, eu], allow: ["{pattern}"]')
    changes = _changes(both, allowed.replace("DOMAIN", "eu.acme.test"))
    assert changes["change", "access", eu].after["callers"] == pattern.replace("DOMAIN", "eu.acme.test")
    assert ("remove", "access", "west -> shop/cart in east") in changes
    changes = _changes(both, allowed.replace("DOMAIN", "west.acme.test"))
    assert ("remove", "access", eu) in changes, "nobody of another trust domain may call"


_SERVICE_LINES = {
    "namespace": "  namespace: shop2\n",
    "name": "  name: cart2\n",
    "ports": "  ports: [{name: http, port: 81, protocol: http}]\n",
    "endpoints": "  endpoints: [{address: 10.0.0.2, port: 9001}]\n",
    "health": "  health: {http: /}\n",
    "labels": "  labels: {tier: public}\n",
    "export": "  export: {to: []}\n",
    "tls": "  tls: {cluster_ca: true}\n",
    "timeouts": "  timeouts: {request: 1s}\n",
    "retries": "  retries: {statuses: []}\n",
    "limits": "  limits: {pending: 1}\n",
}


@pytest.mark.parametrize("key", ServiceConfig.model_fields)
def test_no_key_of_a_service_changes_unseen(key: str) -> None:
    """Whatever is changed of a service, a plan has it."""
    lines = [line for line in _BASE.splitlines(keepends=True) if not line.startswith((f"  {key}:", f"- {key}:"))]
    if key == "namespace":
        lines[lines.index("  name: cart\n")] = "- name: cart\n"
    assert _changes(_BASE, "".join(lines) + _SERVICE_LINES[key])


def test_importing_nothing_is_a_change() -> None:
    """An empty list is not the same as none."""
    (change,) = _changes(_BASE, _BASE + "imports: {from: {west: []}}\n").values()
    assert (change.name, change.after) == ("imports.from.west", {"value": "none"})


def test_without_a_mesh_listener_nobody_reaches_anything() -> None:
    """The export stays in the file, and is worth nothing."""
    changes = _changes(_BASE, _BASE.replace("gateway: {mesh: 127.0.0.1:15443}\n", ""))
    assert set(changes) == {
        ("remove", "access", "west -> shop/cart in east"),
        ("remove", "listener", "gateway.mesh"),
    }
    assert not changes["remove", "listener", "gateway.mesh"].restart


def test_another_root_is_a_change_of_the_peer() -> None:
    """Both roots are shown, and nothing that stays the same."""
    changes = _changes(_BASE, _BASE.replace("ab" * 32, "cd" * 32))
    (change,) = changes.values()
    assert (change.before, change.after) == ({"root": "sha256:" + "ab" * 32}, {"root": "sha256:" + "cd" * 32})
    assert not change.restart


@pytest.mark.parametrize(
    ("more", "restart"),
    [
        ("dns: {ttl: 9s}\n", []),
        ("dns: {listen: 127.0.0.1:53}\n", ["dns.listen"]),
        ("freshness: {stale_after: 10s}\n", []),
        ("failover: {order: [west]}\n", []),
        ("trust: {svid_lifetime: 2h}\n", ["trust.svid_lifetime"]),
        ("state_dir: elsewhere\n", ["state_dir"]),
        ("etcd: {endpoints: [http://127.0.0.1:2379]}\n", ["etcd.endpoints", "etcd.prefix"]),
        ("status: {listen: 127.0.0.1:1}\n", ["status.listen"]),
    ],
)
def test_what_needs_a_restart(more: str, restart: list[str]) -> None:
    """The controller refuses by the same rule when the file changes under it."""
    changes = diff(settings_state(_config(_BASE)), settings_state(_config(_BASE + more)))
    assert [change.name for change in changes if change.restart] == restart
    assert changes


def test_addresses_are_written_as_in_the_file() -> None:
    """Not as the code keeps them."""
    state = settings_state(_config(_BASE))
    assert state["listener", "gateway.mesh"] == {"value": "127.0.0.1:15443"}
    assert state["setting", "gateway.vip_range"] == {"value": "127.80.0.0/16"}


def test_an_endpoint_comes_and_goes() -> None:
    """By itself: its service is not named."""
    more = _BASE.replace("port: 9001}]", "port: 9001}, {address: 10.0.0.2, port: 9001, zone: a}]")
    assert list(_changes(_BASE, more)) == [("add", "endpoint", "shop/cart 10.0.0.2:9001")]
    assert list(_changes(more, _BASE)) == [("remove", "endpoint", "shop/cart 10.0.0.2:9001")]


def test_addresses_that_are_given_stay() -> None:
    """A running gateway's virtual IP is kept, a new name gets the one that the gateway will give it."""
    cart, ledger = ServiceName("shop", "cart"), ServiceName("shop", "ledger")
    state = names_state({cart, ledger}, "127.80.0.0/16", {cart: "127.80.9.9"})
    assert state["name", cart.fqdn] == {"address": "127.80.9.9"}
    assert state["name", ledger.fqdn] == names_state({ledger}, "127.80.0.0/16", {})["name", ledger.fqdn]


def test_a_range_that_is_used_up_is_said() -> None:
    """A plan does not fail for what the gateway would only complain about."""
    names = {ServiceName("shop", f"s{number}") for number in range(3)}
    said = [facts["address"] for facts in names_state(names, "127.80.0.0/30", {}).values()]
    assert sum("used up" in address for address in said) == 2


def _running(config: Config, *services: ServiceDocument) -> set[str]:
    """The names of others' services that stay when `config` replaces the base."""
    return {service.name for service in kept_catalog(config, config_state(_config(_BASE)), services)}


def test_what_peers_export_goes_with_the_peer_and_with_the_import() -> None:
    """A removed peer, another root, and a narrower import each take its services away; anything else does not."""
    assert _running(_config(_BASE), PAYMENTS, CART) == {"payments"}
    assert _running(_config(_BASE.replace("ab" * 32, "cd" * 32)), PAYMENTS) == set()
    assert _running(_config(_BASE + 'imports: {from: {west: ["stock/*"]}}\n'), PAYMENTS) == set()
    assert _running(_config(_BASE + 'imports: {from: {west: ["shop/*"]}}\n'), PAYMENTS) == {"payments"}


def test_a_catalog_is_names_and_access() -> None:
    """One line for the name, one for each cluster that serves it."""
    state = catalog_state("east", (PAYMENTS,))
    assert state["name", "payments.shop.svc.clusterset.local"] == {"address": "127.80.0.9"}
    assert state["access", "east -> shop/payments in west"] == {"ports": "80/http"}
    assert state["access", "east -> shop/payments in eu"] == {"ports": "80/http"}


def test_a_fact_that_goes_is_gone() -> None:
    """Applying a plan removes what the new state does not have."""
    old = {("peer", "west"): {"root": "a", "etcd": "b"}}
    new = {("peer", "west"): {"root": "a"}}
    assert apply(old, diff(old, new)) == new
    assert msgspec.to_builtins(diff(old, new)[0])["before"] == {"etcd": "b"}
