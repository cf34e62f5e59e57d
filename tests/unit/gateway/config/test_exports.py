"""Which services the rules of `exports` let out, and whom a plan says they let in."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, parse_config
from gateway.config.plan import diff
from gateway.config.plan_state import config_state

_BASE = """\
federation: acme
cluster: {name: east, trust_domain: east.acme.test}
gateway: {mesh: 127.0.0.1:15443}
peers:
  west: {trust_domain: west.acme.test, root: "sha256:ROOT"}
  eu: {trust_domain: eu.acme.test, root: "sha256:ROOT"}
services:
- {namespace: shop, name: payments, PORTS, labels: {tier: public, team: red}}
- {namespace: shop, name: cart, PORTS, labels: {tier: internal}}
- {namespace: shop, name: vault, PORTS, labels: {tier: public}, export: {to: []}}
- {namespace: stock, name: catalog, PORTS, export: {to: [eu]}}
- {namespace: stock, name: prices, PORTS}
""".replace("ROOT", "ab" * 32).replace(
    "PORTS", "ports: [{name: http, port: 80}], endpoints: [{address: 10.0.0.1, port: 9001}]"
)


def _config(rules: str) -> Config:
    return parse_config(f"{_BASE}exports:\n{rules}\n" if rules else _BASE, Path("/etc/isthmus/cluster.yaml")).require()


@pytest.mark.parametrize(
    ("rules", "exported"),
    [
        ("", {}),
        ('- {services: "shop/*", to: [west]}', {"shop/payments": ("west",), "shop/cart": ("west",)}),
        ('- {services: "*/p*", to: [west]}', {"shop/payments": ("west",), "stock/prices": ("west",)}),
        ('- {services: "*/*", labels: {tier: public}, to: ["*"]}', {"shop/payments": ("*",)}),
        ('- {services: "*/*", labels: {tier: public, team: red}, to: [eu]}', {"shop/payments": ("eu",)}),
        ('- {services: "*/*", labels: {tier: public, team: blue}, to: [eu]}', {}),
        ('- {services: "stock/*", labels: {tier: public}, to: [eu]}', {}),
        (
            '- {services: "shop/cart", to: []}\n- {services: "shop/*", to: [west]}\n- {services: "*/*", to: [eu]}',
            {"shop/payments": ("west",), "stock/prices": ("eu",)},
        ),
    ],
)
def test_who_is_let_out(rules: str, exported: dict[str, tuple[str, ...]]) -> None:
    """The first rule that a service fits counts, all of its labels must be there, and what a service says of itself
    goes before: nothing gets out that neither names."""
    services = _config(rules).local_services()
    assert {str(service.name): service.export_to for service in services if service.export_to} == {
        "stock/catalog": ("eu",),
        **exported,
    }


def test_a_rule_may_name_callers() -> None:
    """As a service's own export may."""
    rule = '- {services: "stock/prices", to: [west], allow: ["spiffe://west.acme.test/ns/web/sa/*"]}'
    (prices,) = [service for service in _config(rule).local_services() if service.name.name == "prices"]
    assert prices.export_allow == ("spiffe://west.acme.test/ns/web/sa/*",)


def test_a_plan_shows_whom_a_rule_lets_in() -> None:
    """Whoever writes a rule over labels sees which services it opens before it is in use; it needs no restart."""
    changes = diff(config_state(_config("")), config_state(_config('- {services: "shop/*", to: [west]}')))
    assert [(change.action, *change.key, change.restart) for change in changes] == [
        ("add", "access", "west -> shop/cart in east", False),
        ("add", "access", "west -> shop/payments in east", False),
    ]
