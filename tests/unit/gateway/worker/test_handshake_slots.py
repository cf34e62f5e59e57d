"""Room for handshakes: bounded in all, and for each address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.worker.handshake_slots import HANDSHAKES_LIMIT, HANDSHAKES_PER_ADDRESS, HandshakeSlots, network_of

HOSTS = [f"192.0.2.{i}" for i in range(HANDSHAKES_LIMIT // HANDSHAKES_PER_ADDRESS + 1)]


def fill(slots: HandshakeSlots, host: str) -> None:
    while not slots.objection(host):
        slots.enter(host)


def test_one_address_does_not_take_all_of_it() -> None:
    """Whoever it is has proved nothing yet, and peers must still get in."""
    slots = HandshakeSlots()
    fill(slots, HOSTS[0])
    assert slots.taken == HANDSHAKES_PER_ADDRESS < HANDSHAKES_LIMIT
    assert HOSTS[0] in slots.objection(HOSTS[0])
    assert not slots.objection(HOSTS[1])
    slots.leave(HOSTS[0])
    assert not slots.objection(HOSTS[0])


def test_there_is_a_limit_for_all_together() -> None:
    """Many addresses are as many handshakes all the same."""
    slots = HandshakeSlots()
    for host in HOSTS:
        fill(slots, host)
    assert slots.taken == HANDSHAKES_LIMIT
    assert "under way" in slots.objection("198.51.100.1")


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_what_counts_as_one_address(host: str, network: str) -> None:
    """With a network of 64 bits come more IPv6 addresses than anybody can count."""
    assert network_of(host) == network


@given(st.lists(st.sampled_from(HOSTS[:3])))
def test_nothing_is_left_behind(hosts: list[str]) -> None:
    """However many came and went, all the room is there again."""
    slots = HandshakeSlots()
    for host in hosts:
        slots.enter(host)
    for host in reversed(hosts):
        slots.leave(host)
    assert slots.taken == 0
    assert not any(slots.objection(host) for host in HOSTS)
