"""Tables and durations for people."""

from __future__ import annotations

import pytest

from gateway.cli.table import format_duration, format_table


def test_columns_are_aligned_and_countable() -> None:
    """The widest cell of a column decides; an empty one is a dash, so that `awk '{print $2}'` counts right."""
    assert format_table(("A", "LONGER"), [("wide cell", ""), ("x", "y")]) == (
        "A          LONGER\n"  #
        "wide cell  -\n"
        "x          y\n"
    )


def test_others_do_not_command_the_terminal() -> None:
    """A peer chooses its version's text; escape sequences and line ends in it are shown as spaces."""
    assert format_table(("A",), [("x\x1b[2J\ny",)]) == "A\nx [2J y\n"


def test_a_table_without_rows_is_its_head() -> None:
    """Nothing to measure is no error."""
    assert format_table(("A", "B"), []) == "A  B\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.9, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61.5, "1m 1s"),
        (7200, "2h"),
        (93_784, "1d 2h"),
        (86_401, "1d 1s"),
    ],
)
def test_durations_are_rough(seconds: float, text: str) -> None:
    """The two greatest units say enough."""
    assert format_duration(seconds) == text
