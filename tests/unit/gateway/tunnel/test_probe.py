"""What silence of a tunnel means, over virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tunnel.probe import (
    ABSENT_AFTER_S,
    DEAD_AFTER_S,
    FIRST_ANSWER_S,
    IDLE_PING_INTERVAL_S,
    MUTE_AFTER_S,
    PING_INTERVAL_S,
    SUSPECT_AFTER_S,
    SUSPECT_TOO_AFTER_S,
    Standing,
    TunnelProbe,
)

NEVER = float("-inf")


class Tunnel:
    """A probe, its driver, and a peer that answers after `rtt_s` unless it is silent."""

    def __init__(self, *, rtt_s: float = 0.01, idle: bool = False) -> None:
        self.idle = idle
        self.now = 100.0
        self.probe = TunnelProbe(self.now)
        self.rtt_s = rtt_s
        self.silent = False
        self.heard = NEVER
        self.pings: list[bytes] = []
        self.answers: list[tuple[float, bytes]] = []
        self.look_at = self.now

    @property
    def standing(self) -> Standing:
        return self.probe.standing

    def stands(self, standing: Standing) -> bool:
        return self.probe.standing is standing

    def run(self, seconds: float, *, until: Standing | None = None) -> float:
        """Passes time; returns how much has passed when `until` was reached."""
        began, end = self.now, self.now + seconds
        while self.now < end and self.standing is not until:
            answer_at = self.answers[0][0] if self.answers and not self.silent else float("inf")
            self.now = min(answer_at, self.look_at)
            if self.now == answer_at:
                self.heard = self.now
                self.probe.answered(self.answers.pop(0)[1], self.now)
            else:
                self.look()
        return self.now - began

    def look(self) -> None:
        look = self.probe.look(self.now, self.heard, idle=self.idle)
        assert look.again_in_s > 0
        self.look_at = self.now + look.again_in_s
        if look.ping:
            self.pings.append(look.ping)
            if not self.silent:
                self.answers.append((self.now + self.rtt_s, look.ping))


def test_a_peer_that_answers_is_good() -> None:
    """And it is asked at a steady pace, each time with another payload."""
    tunnel = Tunnel()
    assert tunnel.stands(Standing.UNPROVEN)
    tunnel.run(10)
    assert tunnel.stands(Standing.GOOD)
    assert len(set(tunnel.pings)) == len(tunnel.pings) == pytest.approx(10 / PING_INTERVAL_S, abs=2)
    assert tunnel.probe.rtt_s == pytest.approx(0.01)


def test_a_tunnel_that_is_not_used_is_asked_less_often() -> None:
    """It costs both gateways; still whoever comes then finds a frozen peer out within a second."""
    tunnel = Tunnel(idle=True)
    tunnel.run(10)
    assert tunnel.stands(Standing.GOOD)
    assert len(tunnel.pings) == pytest.approx(10 / IDLE_PING_INTERVAL_S, abs=2)
    tunnel.silent = True
    assert tunnel.run(10, until=Standing.SUSPECT) <= IDLE_PING_INTERVAL_S + SUSPECT_AFTER_S + 0.05 < 1.0
    asked = len(tunnel.pings)
    tunnel.run(1.0)
    assert len(tunnel.pings) - asked >= 1.0 / PING_INTERVAL_S - 1, "whether it is back is of interest"


def test_silence_is_suspect_at_first_then_absent_mute_and_dead_in_the_end() -> None:
    """A frozen gateway costs under a second; one that is far too busy keeps its tunnel for what has nowhere to go."""
    tunnel = Tunnel()
    tunnel.run(5)
    tunnel.silent = True
    tunnel.answers.clear()
    took_s = tunnel.run(10, until=Standing.SUSPECT)
    assert took_s <= PING_INTERVAL_S + SUSPECT_AFTER_S + 0.05
    took_s += tunnel.run(10, until=Standing.ABSENT)
    assert took_s <= PING_INTERVAL_S + ABSENT_AFTER_S + 0.05, "whoever has nowhere to go hears of it"
    took_s += tunnel.run(10, until=Standing.MUTE)
    assert took_s == pytest.approx(MUTE_AFTER_S, abs=2 * PING_INTERVAL_S)
    assert tunnel.run(10, until=Standing.DEAD) + took_s == pytest.approx(DEAD_AFTER_S, abs=2 * PING_INTERVAL_S)


def test_a_tunnel_whose_neighbour_fell_silent_is_suspect_sooner_if_it_is_silent_too() -> None:
    """A frozen gateway's second tunnel would keep new requests waiting until its own PING is late."""
    probe = TunnelProbe(0.0)
    probe.answered(probe.look(0.0, NEVER).ping, 0.0)
    heard, pinged = 0.0, PING_INTERVAL_S
    assert not probe.suspect_too(pinged, heard), "it was not asked"
    ping = probe.look(pinged, heard).ping
    assert not probe.suspect_too(pinged + SUSPECT_TOO_AFTER_S / 2, heard), "it has hardly been asked"
    late = pinged + SUSPECT_TOO_AFTER_S
    assert not probe.suspect_too(late, late), "it was heard"
    assert probe.suspect_too(late, heard)
    assert not probe.suspect_too(late, heard), "it is already"
    assert probe.look(late, heard).standing is Standing.SUSPECT
    probe.answered(ping, late)
    assert probe.standing is Standing.GOOD


@pytest.mark.parametrize("silence", [Standing.SUSPECT, Standing.ABSENT, Standing.MUTE])
def test_a_peer_that_answers_late_is_good_again(silence: Standing) -> None:
    """Its event loop was busy: nothing has to be opened anew."""
    tunnel = Tunnel()
    tunnel.run(5)
    tunnel.silent = True
    tunnel.run(10, until=silence)
    tunnel.silent = False
    tunnel.answers.append((tunnel.now + 0.01, tunnel.pings[-1]))
    tunnel.run(0.1)
    assert tunnel.standing is Standing.GOOD


def test_whatever_is_heard_counts() -> None:
    """A peer that sends a large body is not silent because its PING answers queue behind it."""
    tunnel = Tunnel()
    tunnel.run(5)
    tunnel.silent = True
    tunnel.run(10, until=Standing.MUTE)
    for _ in range(100):
        tunnel.heard = tunnel.now
        tunnel.run(0.1)
        tunnel.heard = tunnel.now
        assert tunnel.standing is Standing.GOOD


def test_a_far_peer_has_its_round_trip_beside_the_limit() -> None:
    """300 ms away is not silent."""
    tunnel = Tunnel(rtt_s=0.3)
    tunnel.run(60)
    assert tunnel.standing is Standing.GOOD


def test_a_peer_that_never_answers_is_dead_and_never_suspect() -> None:
    """Its side of the handshake may take a while, and nothing was given to it meanwhile."""
    tunnel = Tunnel()
    tunnel.silent = True
    assert tunnel.run(60, until=Standing.SUSPECT) >= 60
    tunnel = Tunnel()
    tunnel.silent = True
    assert tunnel.run(60, until=Standing.DEAD) == pytest.approx(FIRST_ANSWER_S, abs=PING_INTERVAL_S)


def test_our_own_standstill_is_not_the_peers() -> None:
    """A worker that was frozen for a minute and goes on must not find all its peers dead: what they said meanwhile has
    not been read yet."""
    tunnel = Tunnel()
    tunnel.run(5)
    tunnel.look()
    tunnel.now += 60
    tunnel.look()
    assert tunnel.standing is Standing.GOOD
    tunnel.run(1)
    assert tunnel.standing is Standing.GOOD


def test_an_answer_to_nothing_is_nothing() -> None:
    """A peer may send any PING with ACK."""
    tunnel = Tunnel()
    tunnel.look()
    tunnel.probe.answered(b"\xff" * 8, tunnel.now)
    assert tunnel.standing is Standing.UNPROVEN


@given(st.lists(st.tuples(st.sampled_from(["look", "answer", "hear"]), st.floats(0, 10)), max_size=40))
def test_whatever_happens_it_is_looked_at_again_soon(steps: list[tuple[str, float]]) -> None:
    """No sequence leaves a tunnel without a next look, and dead is dead."""
    probe, now, heard = TunnelProbe(0.0), 0.0, NEVER
    payload = bytes(8)
    for kind, passes_s in steps:
        now += passes_s
        was = probe.standing
        if kind == "answer":
            probe.answered(payload, now)
            heard = now
        elif kind == "hear":
            heard = now
        else:
            look = probe.look(now, heard)
            payload = look.ping or payload
            assert 0 < look.again_in_s <= PING_INTERVAL_S + 1e-9
            if was is Standing.DEAD:
                break
