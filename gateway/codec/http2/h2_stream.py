"""What the h2 codec knows of one open stream."""

from __future__ import annotations


class H2Stream:
    """One open stream. What waits of its body is in the session's `bodies`."""

    def __init__(self, method: bytes, *, upgrade: bool = False) -> None:
        self.method = method
        self.tunnel = method == b"CONNECT"
        self.upgrade = upgrade
        """Whether it is asked for one."""
        self.missing: int | None = None
        """What is still to come of the `content-length` that the peer announced."""
        self.bodiless = False
        """The response can have no body: DATA with bytes is malformed."""
        self.remote_ended = False
        self.local_ended = False
        self.end_sent = False
        self.refused = False
        """Answered by the codec itself: nobody was told of it."""
        self.unwanted = False
        """Our response is whole: what is still to come of the request goes nowhere."""
        self.credit = 0
        """Bytes that were consumed and not yet given back to the peer."""
