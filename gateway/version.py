"""The version, as the distribution's metadata has it, and in which form its request path is here."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

VERSION = version("isthmus")


def compiled() -> bool:
    """Whether the request path is machine code (docs/adr/0008), or interpreted from source."""
    found = find_spec("gateway.transport.reactor")
    return found is not None and not str(found.origin).endswith(".py")
