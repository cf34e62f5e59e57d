"""The values inside records: tolerant of more, strict on what there is, bounded."""

from __future__ import annotations

import msgspec
import pytest

from discovery.model import Port, Protocol, ZoneHealth
from federation.errors import RecordRefused
from federation.values import (
    AckValue,
    ExportValue,
    GatewayValue,
    encode,
    parse_ack,
    parse_export,
    parse_gateway,
    split_address,
)

GATEWAY = GatewayValue("gw-1", ("gw.west:15443", "[fd00::1]:15443", "10.0.0.1:1"), "us-west", "a", "0.1.0")
EXPORT = ExportValue(
    (Port("http", 80, Protocol.HTTP), Port("raw", 9000, Protocol.TCP)), ("east",), 100.0, (ZoneHealth("a", 1, 2),)
)


def test_values_round_trip() -> None:
    assert parse_gateway(encode(GATEWAY), "gw-1") == GATEWAY
    assert parse_export(encode(EXPORT)) == EXPORT
    assert parse_ack(encode(AckValue(3))) == AckValue(3)


def test_unknown_fields_are_passed_over() -> None:
    """A newer member may say more, at any depth."""
    value = msgspec.json.decode(encode(EXPORT))
    value["new"] = {"x": 1}
    value["ports"][0]["new"] = True
    assert parse_export(msgspec.json.encode(value)) == EXPORT


def test_consumers_are_named_or_all() -> None:
    assert EXPORT.is_for("east")
    assert not EXPORT.is_for("west")
    assert msgspec.structs.replace(EXPORT, to=("*",)).is_for("west")


@pytest.mark.parametrize(
    "change",
    [
        {"ports": []},
        {"ports": [{"name": "http", "port": 0, "protocol": "http"}]},
        {"ports": [{"name": "http", "port": 65_536, "protocol": "http"}]},
        {"ports": [{"name": "http", "port": "80", "protocol": "http"}]},
        {"ports": [{"name": "http", "port": 80, "protocol": "udp"}]},
        {"ports": [{"name": "Not a name", "port": 80, "protocol": "http"}]},
        {"ports": [{"name": "a", "port": 80, "protocol": "http"}, {"name": "a", "port": 81, "protocol": "http"}]},
        {"ports": [{"name": "a", "port": 80, "protocol": "http"}, {"name": "b", "port": 80, "protocol": "http"}]},
        {"ports": [{"name": f"p{n}", "port": n + 1, "protocol": "tcp"} for n in range(65)]},
        {"to": "east"},
        {"to": ["x" * 300]},
        {"to": ["x"] * 1_025},
        {"to": ["\x1b[2J"]},
        {"zones": [{"zone": "a\nb", "healthy": 1, "total": 1}]},
        {"created": -1.0},
        {"created": None},
        {"zones": [{"zone": "a", "healthy": 3, "total": 2}]},
        {"zones": [{"zone": "a", "healthy": -1, "total": 2}]},
        {"zones": [{"zone": "a", "healthy": 1, "total": 10**9}]},
        {"zones": [{"zone": "a", "healthy": 1, "total": 1}] * 65},
    ],
    ids=str,
)
def test_a_wrong_export_is_refused(change: dict[str, object]) -> None:
    """Another cluster wrote it: nothing impossible or boundless gets into the catalog."""
    value = {**msgspec.json.decode(encode(EXPORT)), **change}
    with pytest.raises(RecordRefused, match="malformed-value"):
        parse_export(msgspec.json.encode(value))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "gw-2"},
        {"addresses": []},
        {"addresses": ["x:1"] * 17},
        {"addresses": ["no-port"]},
        {"addresses": ["host:0"]},
        {"addresses": ["host:99999"]},
        {"addresses": [":443"]},
        {"addresses": ["[]:443"]},
        {"addresses": ["fd00::1:443"]},
        {"addresses": ["user@host:443"]},
        {"addresses": ["host/path:443"]},
        {"addresses": ["h st:443"]},
        {"region": 5},
        {"version": "1.0\x1b[31m"},
    ],
    ids=str,
)
def test_a_wrong_gateway_is_refused(change: dict[str, object]) -> None:
    value = {**msgspec.json.decode(encode(GATEWAY)), **change}
    with pytest.raises(RecordRefused, match="malformed-value"):
        parse_gateway(msgspec.json.encode(value), "gw-1")


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b'{"sequence":-1}', b'{"sequence":1e99}', b"[" * 9_000, b"\xff"])
def test_what_is_no_value_is_refused(raw: bytes) -> None:
    for parse in (parse_ack, lambda value: parse_gateway(value, "x"), parse_export):
        with pytest.raises(RecordRefused, match="malformed-value"):
            parse(raw)


def test_addresses_split() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("host:80") == ("host", 80)
    assert split_address("host:٨٠") is None
