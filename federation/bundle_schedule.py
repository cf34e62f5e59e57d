"""When a bundle endpoint is asked again. Pure.

Source: SPIFFE Federation, sections 4.1 (at the refresh hint, else every five minutes) and 6.2 (no hammering).
"""

from __future__ import annotations

import random

MIN_INTERVAL_S = 5.0
MAX_INTERVAL_S = 86_400.0
DEFAULT_INTERVAL_S = 300.0
_FIRST_RETRY_S = 2.0


def next_poll_s(hint_s: int | None, failures: int, rng: random.Random) -> float:
    """In how many seconds to ask again; a little early, so that followers spread. `hint_s` is the last bundle's refresh
    hint (None: there is none yet), `failures` how many tries have failed since a good one."""
    interval_s = min(max(hint_s, MIN_INTERVAL_S), MAX_INTERVAL_S) if hint_s else DEFAULT_INTERVAL_S
    if failures:
        interval_s = min(interval_s, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 20))
    return interval_s * rng.uniform(0.8, 1.0)
