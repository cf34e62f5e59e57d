"""One tunnel: its connection, who is at the other end, and whether it takes requests."""

from __future__ import annotations

import re
import ssl
from typing import Final

import trio

from gateway.codec.events import ErrorCode
from gateway.transport.client_connection import ClientConnection
from gateway.transport.resolver import Place
from gateway.tunnel.identity import Proof
from gateway.tunnel.probe import ABSENT, SILENT, Standing, TunnelProbe

_CODE: Final = re.compile(rb"[a-z0-9-]{1,40}")


class Link:
    """One tunnel."""

    def __init__(
        self,
        conn: ClientConnection,
        proof: Proof,
        place: Place,
        probe: TunnelProbe,
        *,
        replace_at: float,
        before: Link | None,
    ) -> None:
        """`before`: the one that it is opened in place of, which takes requests until this one does."""
        self.conn = conn
        self.proof = proof
        self.place = place
        self.probe = probe
        self.replace_at = replace_at
        self.before = before
        self.leaving = False
        """It takes no requests any more, and ends when it carries none."""
        self.reason = ""
        """Why we end it; empty: we do not."""
        self.needed = trio.Event()
        """Another tunnel shall be opened in its place."""

    def leave(self) -> None:
        self.leaving = True
        self.needed.set()

    @property
    def ready(self) -> bool:
        return self.probe.standing is Standing.GOOD and not self.leaving and not self.conn.gone

    @property
    def silent(self) -> bool:
        return self.probe.standing in SILENT and not self.conn.gone

    @property
    def absent(self) -> bool:
        return self.probe.standing in ABSENT

    def suspect_too(self) -> bool:
        """Another tunnel to the same gateway fell silent: whether this one becomes suspect by that."""
        return not self.conn.closed and self.probe.suspect_too(trio.current_time(), self.conn.last_active)

    def stall(self) -> None:
        """Tells what waits here how silent the peer is."""
        self.conn.stall(mute=self.probe.standing is Standing.MUTE)


def why_ended(conn: ClientConnection, was_good: bool) -> str:
    """Why a tunnel ended, for people."""
    error = conn.lost_to
    if isinstance(error, ssl.SSLError):
        return f"the peer refuses us: {error.reason or error}"
    if error is not None:
        return f"the connection was lost: {error.strerror or error}"
    if conn.goaway_code == ErrorCode.INADEQUATE_SECURITY:
        # Gateways say the code of what was wrong (`dial.send_away`); what others say is nothing to show.
        said = f" ({conn.goaway_debug.decode()})" if _CODE.fullmatch(conn.goaway_debug) else ""
        return f"the peer does not let us in{said}: does its `peers` name our trust domain, and our root?"
    return "the connection ended" if was_good else "the peer closed it: are we its peer?"
