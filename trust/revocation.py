"""Which certificates of a trust domain are refused before they end, as its bundle says. Pure.

A SPIFFE bundle has no such list: it travels in the document's member `isthmus_revoked`, which other readers ignore
(RFC 7517 section 5). Taking a root out of the bundle needs no entry here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from trust.certificate import PARSE_ERRORS
from trust.errors import PeerRejected

MAX_REVOCATIONS = 256
FOREVER = 2**53 - 1
_SERIAL = re.compile(r"[1-9a-f][0-9a-f]{0,39}")  # RFC 5280 section 4.1.2.2: positive, at most 20 octets
_GATEWAY = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Revocations(msgspec.Struct, frozen=True):
    """`gateways`: by gateway id, the Unix second up to which its certificates may end and are refused (FOREVER: all of
    them). `serials`: by serial number (lower-case hexadecimal), the second from which on the entry is not needed."""

    gateways: Mapping[str, int] = {}
    serials: Mapping[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.gateways or self.serials)

    def __len__(self) -> int:
        return len(self.gateways) + len(self.serials)

    def to_document(self) -> dict[str, dict[str, int]]:
        return {"gateways": dict(self.gateways), "serials": dict(self.serials)}

    def without_ended(self, now: float) -> Revocations:
        """Only what still refuses something: ended certificates are refused for having ended."""
        return Revocations(
            {gateway: until for gateway, until in self.gateways.items() if until > now},
            {serial: until for serial, until in self.serials.items() if until > now},
        )


def parse_revocations(document: object) -> Revocations:
    """Raises ValueError for what is not such a list; a list of nothing is one."""
    if not isinstance(document, dict):
        raise ValueError("isthmus_revoked is not an object")
    found = Revocations(
        _parse_part(document.get("gateways", {}), "gateways", _GATEWAY),
        _parse_part(document.get("serials", {}), "serials", _SERIAL),
    )
    if len(found) > MAX_REVOCATIONS:
        raise ValueError(f"isthmus_revoked has {len(found)} entries: at most {MAX_REVOCATIONS} are read")
    return found


def _parse_part(part: Any, name: str, form: re.Pattern[str]) -> dict[str, int]:
    if not isinstance(part, dict):
        raise ValueError(f"isthmus_revoked.{name} is not an object")
    for key, until in part.items():
        if form.fullmatch(key) is None or type(until) is not int or not 0 <= until <= FOREVER:
            raise ValueError(f"isthmus_revoked.{name} has an entry that is none: {ascii(key)[:64]}")
    return part


def validate_not_revoked(leaf: x509.Certificate, revocations: Revocations) -> None:
    """Raises PeerRejected with code `revoked` for a certificate on its trust domain's list."""
    if not revocations:
        return
    serial = f"{leaf.serial_number:x}"
    if serial in revocations.serials:
        raise PeerRejected("revoked", f"its trust domain has revoked the certificate with serial number {serial}")
    gateway = gateway_of(leaf)
    until = revocations.gateways.get(gateway, -1)
    if leaf.not_valid_after_utc.timestamp() <= until:
        raise PeerRejected("revoked", f"its trust domain has revoked the certificates of gateway {gateway}")


def gateway_of(leaf: x509.Certificate) -> str:
    """The id of the gateway that a certificate was issued to, empty where it does not say. Raises PeerRejected."""
    try:
        names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except PARSE_ERRORS as error:
        raise PeerRejected("malformed", f"the certificate's subject can't be read: {str(error)[:200]!a}") from error
    return str(names[0].value) if names else ""
