"""Addresses as people write them: `host:port`, with IPv6 in brackets."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

# Of clients that connect again and again.
HOSTS_KEPT = 4_096

_PORT = re.compile(r"[0-9]{1,5}")
_NAME_LABEL = re.compile(r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?")
_MAX_NAME = 253


class HostPort(NamedTuple):
    """An IP address (as `ipaddress` prints it) or a host name in lower case, and a port from 0 to 65535.

    Port 0 means any free port, where something listens; nothing can be reached on it.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an IP address, None for a name."""
        return parse_ip(self.host)

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of the machine (0.0.0.0 or ::)."""
        return self.ip is not None and self.ip.is_unspecified

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can be behind it."""
        return self.host == "localhost" or (self.ip is not None and self.ip.is_loopback)

    def overlaps(self, other: HostPort) -> bool:
        """Whether two listeners of one kind could not have both addresses. Port 0 never clashes."""
        if self.port != other.port or self.port == 0:
            return False
        mine, theirs = self.ip, other.ip
        if mine is None or theirs is None or mine.version != theirs.version:
            return self.host == other.host
        return mine == theirs or mine.is_unspecified or theirs.is_unspecified


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`text` as an IP address without a scope, else None."""
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


def is_host_name(text: str) -> bool:
    """Whether `text` is a DNS name in lower case. A name whose last label is a number is a mistyped IPv4 address
    (RFC 1123 section 2.1), so it is none."""
    labels = text.removesuffix(".").split(".")
    if len(text) > _MAX_NAME or labels[-1].isdigit():
        return False
    return all(_NAME_LABEL.fullmatch(label) for label in labels)


def parse_host_port(text: str) -> HostPort:
    """Reads `host:port` or `[IPv6]:port`.

    Raises:
        ValueError: says what is wrong with `text`, as the end of a sentence that begins with it.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("has no port")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError("is ambiguous: an IPv6 address needs brackets around it")
    if _PORT.fullmatch(port) is None or int(port) > 65535:
        raise ValueError(f'has an impossible port, "{port[:20]}"')
    return HostPort(_parse_host(host, bracketed), int(port))


@lru_cache(maxsize=HOSTS_KEPT)
def canonical_host(host: str) -> str:
    """The host of a `HostPort`, from how it stands before a port. Raises ValueError.

    >>> canonical_host("[FD00::0:1]")
    'fd00::1'
    """
    return parse_host_port(f"{host}:0").host


def _parse_host(host: str, bracketed: bool) -> str:
    address = parse_ip(host[1:-1] if bracketed else host)
    if address is not None and bracketed == (address.version == 6):
        return str(address)
    if not bracketed and is_host_name(host.lower()):
        return host.lower()
    raise ValueError("names no host" if not host else "has a host that is neither an IP address nor a DNS name")
