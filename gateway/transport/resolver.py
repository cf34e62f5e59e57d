"""From what a gateway advertises to the addresses behind it, and for how long that holds.

Names are asked of the nameservers that the configuration names, whose answers say how long they hold; without any, of
the system, whose resolver does not tell.
"""

from __future__ import annotations

import socket
from typing import TypeAlias

import msgspec
import trio

from discovery.address import HostPort, parse_host_port

Place: TypeAlias = tuple[socket.AddressFamily, tuple[str, int]]
"""A socket address."""

# How long an answer of the system's resolver is taken for true. It keeps its own cache where it has one.
SYSTEM_TTL_S = 5.0
# Bounds on what a nameserver says: one that says 0 is not asked without end.
TTL_LEAST_S = 1.0
TTL_MOST_S = 300.0
LOOKUP_TIMEOUT_S = 4.0
_SHOWN = 64


class Resolution(msgspec.Struct, frozen=True):
    """Every address of a name, in the resolver's order."""

    places: tuple[Place, ...]
    ttl_s: float
    """For how long they hold; infinite for what is no name."""


class Resolver:
    """Asks, and remembers nothing: who asks knows when to ask again."""

    def __init__(self) -> None:
        self.nameservers: tuple[str, ...] = ()
        """`<ip>:<port>`, asked in turn. None: the system."""

    async def resolve(self, address: str) -> Resolution:
        """The addresses of "host:port". Raises OSError, also for what is no address: it may be what a peer
        advertises."""
        try:
            where = parse_host_port(address)
            if where.ip is not None or not self.nameservers:
                return await _ask_system(where)
        except ValueError as error:
            raise OSError(f"{address[:_SHOWN]!r} {error}") from error
        return await _ask_nameservers(where, self.nameservers)


async def _ask_system(where: HostPort) -> Resolution:
    found = await trio.socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    places = tuple((family, (str(sockaddr[0]), int(sockaddr[1]))) for family, _, _, _, sockaddr in found)
    return Resolution(places, SYSTEM_TTL_S if where.ip is None else float("inf"))


async def _ask_nameservers(where: HostPort, nameservers: tuple[str, ...]) -> Resolution:
    # Only a worker that needs it pays for it in memory.
    import dns.asyncresolver
    import dns.exception
    import dns.nameserver
    import dns.rdatatype

    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [
        dns.nameserver.Do53Nameserver(server.host, server.port) for server in map(parse_host_port, nameservers)
    ]
    resolver.lifetime = LOOKUP_TIMEOUT_S
    places: list[Place] = []
    ttls_s: list[float] = []
    try:
        answers = await resolver.resolve_name(where.host, search=False)
    except dns.exception.DNSException as error:
        raise OSError(f"{where.host}: {error}") from error
    for kind, family in ((dns.rdatatype.A, socket.AF_INET), (dns.rdatatype.AAAA, socket.AF_INET6)):
        answer = answers.get(kind)
        if answer is not None and answer.rrset is not None:
            places += [(family, (record.address, where.port)) for record in answer.rrset]
            # The chain of CNAMEs has a say in it too.
            ttls_s.append(float(answer.chaining_result.minimum_ttl))
    return Resolution(tuple(places), min(max(min(ttls_s, default=0.0), TTL_LEAST_S), TTL_MOST_S))
