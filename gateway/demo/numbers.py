"""Finds what must be free on this machine before a lab starts: ports, and a network for each cluster's virtual IPs."""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Iterable, Sequence

from discovery.model import ServiceName
from discovery.vip import VipPool

_FIRST_SECOND_OCTET, _LAST_SECOND_OCTET = 64, 127
_PORTS_TRIED = 200


class NothingFree(Exception):
    """This machine has no room for the demo; the message says of what."""


def free_client_port(preferred: int) -> int:
    """The first port from `preferred` on that no program holds for all addresses. Raises NothingFree."""
    for port in range(preferred, preferred + _PORTS_TRIED):
        # An address that nobody has a reason to use: only a listener on every address is in the way there.
        if _is_free(f"127.{_LAST_SECOND_OCTET + 1}.255.254", port):
            return port
    raise NothingFree(f"no port from {preferred} to {preferred + _PORTS_TRIED - 1} is free on every loopback address")


def free_vip_ranges(
    count: int, names: Sequence[ServiceName], ports: Iterable[int], rng: random.Random
) -> list[ipaddress.IPv4Network]:
    """Networks from 127.64.0.0/16 to 127.127.0.0/16 where the addresses that `names` will get are free at every one
    of `ports`. Raises NothingFree."""
    octets = list(range(_FIRST_SECOND_OCTET, _LAST_SECOND_OCTET + 1))
    rng.shuffle(octets)
    wanted_ports = tuple(ports)
    found: list[ipaddress.IPv4Network] = []
    for octet in octets:
        network = ipaddress.IPv4Network(f"127.{octet}.0.0/16")
        pool = VipPool(network, {})
        if all(_is_free(pool.assign(name), port) for name in names for port in wanted_ports):
            found.append(network)
            if len(found) == count:
                return found
    raise NothingFree(
        f"{len(found)} of {count} networks for virtual IPs are free between 127.64.0.0 and 127.127.255.255; "
        "a system that has only 127.0.0.1 on its loopback interface can't run the demo"
    )


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
