"""Local services: from the configuration to their health, and to what federation says of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from discovery.model import ServiceName
from gateway.config import Config, load_config
from gateway.controller.controller import Controller
from tests.ports import free_port

CART, LEDGER = ServiceName("shop", "cart"), ServiceName("shop", "ledger")

_CONFIG = """
federation: acme
cluster: {name: east, region: us-east, trust_domain: east.acme.test}
gateway: {workers: 2}
services:
"""
_SERVICE = """
- {namespace: shop, name: %s, ports: [{name: http, port: 18080}],
   endpoints: [{address: 127.0.0.1, port: %d, zone: a}, {address: 127.0.0.1, port: %d, zone: b}], export: {to: [west]},
   health: {interval: 0.1s, timeout: 0.1s, fall: 1}}
"""


def configured(path: Path, *names: str, ports: tuple[int, int] = (8, 9)) -> Config:
    path.write_text(_CONFIG + "".join(_SERVICE % (name, *ports) for name in names))
    return load_config(path)


@pytest.fixture
async def controller(tmp_path: Path) -> AsyncIterator[Controller]:
    """Made, and not started."""
    path = tmp_path / "cluster.yaml"
    made = Controller(configured(path, "cart"), path)
    yield made
    made.listeners.close_all()


def shown(controller: Controller) -> dict[ServiceName, list[tuple[str, int, int]]]:
    """For each service in the catalog the zones of our share: name, healthy, total."""
    return {
        view.name: [(zone.zone, zone.healthy, zone.total) for export in view.exports for zone in export.zones]
        for view in controller.federation.services().values()
    }


async def test_services_come_and_go_with_the_configuration(controller: Controller, tmp_path: Path) -> None:
    """One that is gone from it is gone from the catalog, and nothing is said of one that stayed as it was."""
    controller.services.replace(controller.config.local_services())
    assert shown(controller) == {CART: [("a", 1, 1), ("b", 1, 1)]}
    before = controller.federation.services()[CART]
    controller.services.replace(configured(tmp_path / "two.yaml", "cart", "ledger").local_services())
    assert {*shown(controller)} == {CART, LEDGER}
    assert controller.federation.services()[CART] is before
    controller.services.replace(configured(tmp_path / "one.yaml", "ledger").local_services())
    assert {*shown(controller)} == {LEDGER}
    assert controller.services.get(CART) is None
    controller.services.remove(CART)


async def test_health_is_told_by_zone(controller: Controller, tmp_path: Path) -> None:
    """An endpoint that refuses connections is counted as unhealthy in its zone, and in no other."""
    with trio.socket.socket() as server:
        await server.bind(("127.0.0.1", 0))
        server.listen()
        config = configured(tmp_path / "health.yaml", "cart", ports=(free_port(), server.getsockname()[1]))
        async with trio.open_nursery() as nursery:
            controller.services.replace(config.local_services())
            nursery.start_soon(controller.services.run)
            with trio.fail_after(20):
                while shown(controller)[CART] != [("a", 0, 1), ("b", 1, 1)]:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
