"""Ports that a program keeps: free when chosen, and the same ones when it asks again."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

from gateway.controller.loopback_ports import free_ports_for, is_free


def test_a_port_that_somebody_listens_on_is_not_offered() -> None:
    """The program would fail to start on it."""
    directory = Path("/state/east")
    first = next(free_ports_for(directory))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert not is_free(first)
        assert next(free_ports_for(directory)) != first


def test_ports_are_below_the_range_of_outgoing_connections() -> None:
    """A client that connects to a port of that range while the server is down may connect to itself, and keep it."""
    ports = list(itertools.islice(free_ports_for(Path("/state/west")), 3))
    assert len(set(ports)) == 3
    assert all(20_000 <= port < 30_000 for port in ports)


def test_directories_get_different_ports() -> None:
    """Three clusters that start at once on one machine look at the ports before any of them listens."""
    chosen = {next(free_ports_for(Path(f"/state/{cluster}"))) for cluster in ("east", "west", "eu")}
    assert len(chosen) == 3
