"""The controller's own SVID: what it shows where it answers for its cluster itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime

from trust.keys import PrivateKey
from trust.svid import X509Svid, make_signing_request, svid_from


class ControllerSvid:
    """Made when it is asked for, and anew before half of its life."""

    def __init__(self, sign: Callable[[bytes], list[bytes]], rng: random.Random) -> None:
        self._sign = sign
        self._rng = rng
        self._svid: X509Svid | None = None
        self._renew_at: datetime | None = None

    def current(self, now: datetime) -> X509Svid:
        """Raises TrustError when the CA can't sign."""
        if self._svid is None or self._renew_at is None or now >= self._renew_at:
            key = PrivateKey.generate()
            self._svid = svid_from(self._sign(make_signing_request(key)), key)
            self._renew_at = self._svid.renew_at(self._rng)
        return self._svid
