"""host:port, as people write it and as it clashes."""

from __future__ import annotations

import pytest

from discovery.address import HostPort, parse_host_port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:0", "::1", 0),
        ("[2001:DB8:0::1]:443", "2001:db8::1", 443),
        ("GW.Example.:15443", "gw.example.", 15443),
        ("localhost:65535", "localhost", 65535),
    ],
)
def test_addresses_are_read_and_written_back(text: str, host: str, port: int) -> None:
    """One spelling for each address, and what is printed can be read again."""
    address = parse_host_port(text)
    assert address == HostPort(host, port)
    assert parse_host_port(str(address)) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("localhost", "has no port"),
        (":80", "names no host"),
        ("::1:80", "is ambiguous"),
        ("[::1]", "is ambiguous"),
        ("[127.0.0.1]:80", "neither an IP address nor a DNS name"),
        ("[fe80::1%eth0]:80", "neither an IP address nor a DNS name"),
        ("256.0.0.1:80", "neither an IP address nor a DNS name"),
        ("a..b:80", "neither an IP address nor a DNS name"),
        ("a b:80", "neither an IP address nor a DNS name"),
        ("host:65536", "impossible port"),
        ("host:-1", "impossible port"),
        ("host:\N{ARABIC-INDIC DIGIT ONE}", "impossible port"),
        ("host:", "impossible port"),
        ("x" * 64 + ":80", "neither an IP address nor a DNS name"),
    ],
)
def test_what_is_no_address(text: str, reason: str) -> None:
    """The reason is the end of a sentence that begins with the text."""
    with pytest.raises(ValueError, match=reason):
        parse_host_port(text)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "0.0.0.0:80", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("0.0.0.0:0", "0.0.0.0:0", False),
    ],
)
def test_which_listeners_clash(one: str, other: str, clash: bool) -> None:
    """A wildcard holds every address of its family; port 0 becomes another port for each."""
    first, second = parse_host_port(one), parse_host_port(other)
    assert first.overlaps(second) is second.overlaps(first) is clash


def test_what_stays_on_this_machine() -> None:
    """What goes elsewhere needs TLS, or must not carry a password."""
    local = [parse_host_port(text).is_loopback for text in ("127.9.9.9:1", "[::1]:1", "localhost:1")]
    away = [parse_host_port(text).is_loopback for text in ("10.0.0.1:1", "etcd:1", "0.0.0.0:1")]
    assert (local, away) == ([True] * 3, [False] * 3)
