"""Our own exports: their age survives, and nobody is called unhealthy before somebody looked."""

from __future__ import annotations

import msgspec

from discovery.model import ServiceName, ZoneHealth
from federation.own_exports import OwnExports
from tests.federation_members import local_service

PAY = ServiceName("shop", "pay")


def test_an_export_says_what_peers_need() -> None:
    exports = OwnExports()
    assert exports.put(local_service("pay", to=("west", "eu"), endpoints=2), 100.0)
    value = exports.value(PAY)
    assert value is not None
    assert value.to == ("eu", "west")
    assert value.created == 100.0
    # Unchecked counts as healthy: a restarted gateway must not say that all is down.
    assert value.zones == (ZoneHealth("a", 2, 2),)


def test_health_replaces_the_guess_and_outlives_a_changed_service() -> None:
    exports = OwnExports()
    exports.put(local_service("pay", endpoints=2), 1.0)
    assert exports.set_health(PAY, (ZoneHealth("a", 1, 2),))
    assert not exports.set_health(PAY, (ZoneHealth("a", 1, 2),))
    assert exports.put(local_service("pay", endpoints=2, port=81), 2.0)
    assert exports.zones(PAY) == (ZoneHealth("a", 1, 2),)
    assert not exports.set_health(ServiceName("shop", "gone"), ())


def test_what_is_not_exported_has_no_value() -> None:
    exports = OwnExports()
    exports.put(local_service("pay", to=()), 1.0)
    assert exports.value(PAY) is None
    assert exports.created(PAY) is None
    assert not exports.put(local_service("pay", to=()), 2.0)


def test_the_age_is_that_of_the_first_export() -> None:
    """Read back from etcd or disk, older than what a restarted gateway thinks; gone with the export itself."""
    exports = OwnExports()
    exports.put(local_service("pay"), 100.0)
    assert exports.learn_created(PAY, 50.0)
    assert not exports.learn_created(PAY, 60.0)
    assert exports.created(PAY) == 50.0
    exports.put(local_service("pay", to=()), 200.0)
    exports.put(local_service("pay"), 300.0)
    assert exports.created(PAY) == 300.0
    assert exports.remove(PAY)
    assert not exports.remove(PAY)


def test_the_age_may_be_known_before_the_service() -> None:
    """The disk is read first, the configuration after."""
    exports = OwnExports()
    assert not exports.learn_created(PAY, 50.0)
    exports.put(local_service("pay"), 100.0)
    assert exports.created(PAY) == 50.0
    assert msgspec.json.encode(exports.value(PAY))
