"""Which streams of a tunnel say nothing of how busy its gateway is."""

from __future__ import annotations

from gateway.tunnel.settled_streams import SETTLED_S, SettledStreams

LOOK_S = 0.25


class Tunnel:
    """Streams that are opened and ended, and looks at them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.open: dict[int, None] = {}
        self.last = 0
        self.settled = SettledStreams()

    def begin(self) -> int:
        self.last += 2
        self.open[self.last] = None
        return self.last

    def look(self, seconds: float) -> int:
        """Passes time with a look now and then; returns what the last one counted."""
        count, end = 0, self.now + seconds
        while self.now < end:
            self.now += LOOK_S
            count = self.settled.count(self.open, self.last, self.now)
        return count


def test_a_young_stream_has_not_settled() -> None:
    """It may be a request whose answer is late because its gateway is busy."""
    tunnel = Tunnel()
    tunnel.begin()
    assert tunnel.look(SETTLED_S - LOOK_S) == 0


def test_an_old_stream_has_settled() -> None:
    """At twice the age at the latest; requests that come and go, and are open now, have not."""
    tunnel = Tunnel()
    tunnel.look(1.0)
    first, second = tunnel.begin(), tunnel.begin()
    for _ in range(int(2 * SETTLED_S)):
        request = tunnel.begin()
        tunnel.look(1.0)
        del tunnel.open[request]
    tunnel.begin()
    assert tunnel.look(LOOK_S) == 2
    del tunnel.open[first]
    assert tunnel.look(LOOK_S) == 1
    del tunnel.open[second]
    assert tunnel.look(LOOK_S) == 0
