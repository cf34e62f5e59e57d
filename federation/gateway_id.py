"""The name of one gateway among those of its cluster: made once, kept in the state directory."""

from __future__ import annotations

import random
from pathlib import Path

from discovery.model import is_dns_label

_FILE = "gateway-id"


def load_gateway_id(state_dir: Path, rng: random.Random) -> str:
    """The ID, a DNS label. A restarted gateway takes the place of the one that it was, so it has to be the same.

    Raises OSError when the state directory can't be used."""
    file = state_dir / _FILE
    try:
        kept = file.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        kept = ""
    if is_dns_label(kept):
        return kept
    made = f"gw-{rng.getrandbits(40):010x}"
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text(f"{made}\n", "ascii")
    return made
