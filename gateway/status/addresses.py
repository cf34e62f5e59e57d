"""The addresses that a running gateway really has, as its state directory keeps them for programs on this machine."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.process.state_dir import LISTENERS_FILE


class Addresses(msgspec.Struct, frozen=True):
    """`listeners.json`: "host:port" each, empty for what does not listen."""

    mesh: str
    http: str
    dns: str
    status: str


def save_addresses(state_dir: Path, addresses: Addresses) -> None:
    """Puts the file in place whole: whoever reads it finds the old one or the new one."""
    path = state_dir / LISTENERS_FILE
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(addresses)) + b"\n")
    temporary.replace(path)


def read_addresses(state_dir: Path) -> Addresses | None:
    """None where no gateway has run, or the file is not one of ours."""
    try:
        return msgspec.json.decode((state_dir / LISTENERS_FILE).read_bytes(), type=Addresses)
    except (OSError, msgspec.MsgspecError):
        return None
