"""Which `Host` a request may name.

A web page from anywhere may make its reader's browser ask a server on loopback, under the page's own host name once
that name resolves to 127.0.0.1 (DNS rebinding), and then read the answer. Such a request always carries a name that is
not ours. An address in its place is harmless: the page itself would have to come from that address.
"""

from __future__ import annotations

import ipaddress


def is_own_host(host_header: str, listen_host: str) -> bool:
    """Whether `host_header` ("host" or "host:port") is an IP address, localhost, or the name that we listen on."""
    host = _host_of(host_header).lower().removesuffix(".")
    return host == "localhost" or host == listen_host.lower().removesuffix(".") or _is_address(host)


def _host_of(host_header: str) -> str:
    if host_header.startswith("["):
        host, bracket, _ = host_header[1:].partition("]")
        return host if bracket else ""
    return host_header.partition(":")[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
