"""What the records say: the typed values inside them, and how much of each we take.

Unknown fields are passed over, so that a newer member can say more; wrong types, wrong names and excess are refused,
because everything here comes from another cluster.
"""

from __future__ import annotations

import functools
from typing import Annotated, TypeVar

import msgspec

from discovery.model import Port, ZoneHealth, is_dns_label
from federation.errors import RecordRefused, RefusalCode

_Text = Annotated[str, msgspec.Meta(max_length=253)]
MAX_ADDRESSES = 16
MAX_PORTS = 64
MAX_CONSUMERS = 1_024
MAX_ZONES = 64
MAX_ENDPOINTS = 1_000_000
MAX_DIGESTED = 1_000
"""Records that one digest names: 57 KB as a JWS, of the 64 KiB that a record may have."""
HASH_BYTES = 32
MAX_SEQUENCE = 2**53 - 1


class GatewayValue(msgspec.Struct, frozen=True):
    """One gateway of a cluster: `addresses` are `host:port` of its mesh listener, as its peers shall dial it."""

    id: _Text
    addresses: Annotated[tuple[_Text, ...], msgspec.Meta(min_length=1, max_length=MAX_ADDRESSES)]
    region: _Text = ""
    zone: _Text = ""
    version: _Text = ""
    bundle_sequence: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)] = 0
    """Of its own cluster's bundle: the one whose keys this gateway has."""


class ExportValue(msgspec.Struct, frozen=True, gc=False):
    """A service that a cluster shows to others. `created` (Unix seconds) is when it was exported first: the oldest
    export wins a conflict (KEP-1645). `to` names the clusters that may see it; `"*"` is all of them."""

    ports: Annotated[tuple[Port, ...], msgspec.Meta(min_length=1, max_length=MAX_PORTS)]
    to: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=MAX_CONSUMERS)]
    created: float
    zones: Annotated[tuple[ZoneHealth, ...], msgspec.Meta(max_length=MAX_ZONES)] = ()

    def is_for(self, cluster: str) -> bool:
        return cluster in self.to or "*" in self.to


class DigestValue(msgspec.Struct, frozen=True):
    """SHA-256 over each of some records of its cluster, signature and all, one after another (base64 in JSON)."""

    records: bytes


class AckValue(msgspec.Struct, frozen=True):
    """Which sequence of a peer's bundle its reader has accepted."""

    sequence: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)]


_V = TypeVar("_V")


def encode(value: GatewayValue | ExportValue | DigestValue | AckValue) -> bytes:
    return msgspec.json.encode(value)


def parse_gateway(value: bytes, gateway_id: str) -> GatewayValue:
    """The gateway registered under `gateway_id`. Raises RecordRefused."""
    parsed = _parse(_read_gateway, value)
    if parsed.id != gateway_id:
        raise _malformed(f"id {parsed.id!r} lies under {gateway_id!r}")
    for address in parsed.addresses:
        _validate_address(address)
    _validate_printable(parsed.region, parsed.zone, parsed.version)
    return parsed


def parse_export(value: bytes) -> ExportValue:
    """An export. Raises RecordRefused."""
    parsed = _parse(_read_export, value)
    _validate_ports(parsed.ports)
    for zone in parsed.zones:
        if not 0 <= zone.healthy <= zone.total <= MAX_ENDPOINTS or len(zone.zone) > 253:
            raise _malformed(f"zone {zone.zone[:64]!r} with {zone.healthy} healthy of {zone.total}")
        _validate_printable(zone.zone)
    _validate_printable(*parsed.to)
    if parsed.created < 0:
        raise _malformed("created before 1970")
    return parsed


@functools.lru_cache(maxsize=1_024)
def _validate_ports(ports: tuple[Port, ...]) -> None:
    """Most services of a catalog have the same few sets of ports, so each is looked at once."""
    names, numbers = set(), set()
    for port in ports:
        if not 1 <= port.port <= 65_535 or not is_dns_label(port.name):
            raise _malformed(f"port {port.name[:64]!r} with number {port.port}")
        names.add(port.name)
        numbers.add(port.port)
    for what, seen in (("name", names), ("number", numbers)):
        if len(seen) != len(ports):
            raise _malformed(f"two ports have the same {what}")


def parse_digest(value: bytes) -> list[bytes]:
    """The hashes in a digest. Raises RecordRefused."""
    together = _parse(_read_digest, value).records
    if len(together) % HASH_BYTES or len(together) > MAX_DIGESTED * HASH_BYTES:
        raise _malformed(f"{len(together)} bytes are no digest of up to {MAX_DIGESTED} records")
    return [together[begin : begin + HASH_BYTES] for begin in range(0, len(together), HASH_BYTES)]


def parse_ack(value: bytes) -> AckValue:
    """An acknowledgement. Raises RecordRefused."""
    return _parse(_read_ack, value)


def split_address(address: str) -> tuple[str, int] | None:
    """Host and port of `host:port` or `[v6]:port`; None when it is neither."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        return None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535):
        return None
    return host.strip("[]"), int(port)


def _validate_address(address: str) -> None:
    split = split_address(address)
    if split is None or not split[0] or any(char in split[0] for char in "/@?#% \t\r\n\0"):
        raise _malformed(f"address {address[:64]!r} is not host:port")


def _validate_printable(*texts: str) -> None:
    """They end in logs and terminals, where control characters act."""
    for text in texts:
        if not text.isprintable():
            raise _malformed(f"{ascii(text)[:64]} has characters that can't be printed")


def _parse(read: msgspec.json.Decoder[_V], value: bytes) -> _V:
    try:
        return read.decode(value)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise _malformed(str(error)[:256]) from None


def _malformed(detail: str) -> RecordRefused:
    return RecordRefused(RefusalCode.MALFORMED_VALUE, detail)


_read_gateway = msgspec.json.Decoder(GatewayValue)
_read_export = msgspec.json.Decoder(ExportValue)
_read_digest = msgspec.json.Decoder(DigestValue)
_read_ack = msgspec.json.Decoder(AckValue)
