"""How much a tunnel's socket is given at a time, by what its link takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec.output import OUTPUT_BYTES
from gateway.transport.pace import BUSY_S, LEAST_BYTES, LOOK_S, Pace


@pytest.mark.parametrize(
    ("bytes_per_s", "piece_bytes"),
    [(10_000, LEAST_BYTES), (500_000, 16_384), (2_000_000, 65_536), (4_000_000, 131_072), (500_000_000, OUTPUT_BYTES)],
)
def test_a_piece_is_what_the_link_takes_in_a_moment(bytes_per_s: int, piece_bytes: int) -> None:
    pace = Pace()
    pace.measured((bytes_per_s // 10, 0.1))
    assert pace.piece_bytes == piece_bytes


def test_it_tells_when_the_piece_is_another() -> None:
    """The codec and the kernel are told only then."""
    pace = Pace()
    assert pace.measured((50_000_000, 0.1))
    assert pace.measured((50_050_000, 0.2))
    assert not pace.measured((50_100_000, 0.3))


def test_a_link_that_is_not_thin_any_more_gets_more() -> None:
    pace = Pace()
    assert not pace.measured((10_000, 0.1))
    assert pace.measured((50_010_000, 0.2))
    assert pace.piece_bytes == OUTPUT_BYTES


def test_too_short_a_time_is_measured_with_the_next() -> None:
    """The kernel's clock for it is coarse: what came within one step of it would seem to have come at once."""
    pace = Pace()
    assert not pace.measured((500_000, BUSY_S / 2))
    assert pace.measured((2_000_000, 2 * BUSY_S))
    assert pace.piece_bytes == OUTPUT_BYTES


def test_a_full_link_is_looked_at_now_and_then() -> None:
    """Small requests touch a full tunnel in every turn, and looking is a system call."""
    pace = Pace()
    looks = [now for now in range(1_000) if pace.is_due(now / 1_000)]
    assert looks[0] == 0
    assert len(looks) == 1 / LOOK_S


def test_a_kernel_that_does_not_count() -> None:
    """Then nothing is known of the link, and it is not asked again."""
    pace = Pace()
    assert pace.measured(None)
    assert pace.piece_bytes == OUTPUT_BYTES
    assert not pace.is_due(1_000.0)


@given(st.lists(st.none() | st.tuples(st.integers(0, 1 << 40), st.floats(0, 1_000))))
def test_a_piece_is_always_one_of_a_few(steps: list[tuple[int, float] | None]) -> None:
    """Whatever a kernel says."""
    pace = Pace()
    for taken in steps:
        pace.measured(taken)
        assert pace.piece_bytes in {LEAST_BYTES << step for step in range(5)}
        assert pace.piece_bytes <= OUTPUT_BYTES
