"""What a benchmark says at its end: a table for a person, and one JSON object for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tests.bench.rig.figures import OURS, Figure, Measured, advantages, worst_ratio

_SIGNIFICANT_DIGITS = 4


def table(figures: Sequence[Figure], measured: Sequence[Measured]) -> str:
    """A line for each contender with the median of each figure, and for each peer a line that says how we compare."""
    medians = {one.name: one.medians() for one in measured}
    rows = [["", *(figure.title for figure in figures)]]
    rows += [[name, *(_shown(values[figure.name]) for figure in figures)] for name, values in medians.items()]
    for name, theirs in medians.items():
        if name != OURS:
            better = advantages(figures, medians[OURS], theirs)
            rows.append([f"ratio to {name}", *(f"{better[figure.name]:.2f}" for figure in figures)])
    return _aligned(rows)


def cpu_table(measured: Sequence[Measured]) -> str:
    """Which process of each contender took which part of its CPU."""
    lines = []
    for one in measured:
        shares = ", ".join(f"{role} {share:.0%}" for role, share in one.cpu_shares().items())
        if shares:
            lines.append(f"CPU of {one.name}: {shares}")
    return "\n".join(lines)


def verdict(figures: Sequence[Figure], measured: Sequence[Measured]) -> str:
    """The ratios in words."""
    ratios = _ratios(figures, measured)
    if not ratios:
        return "no peer was measured, so there is no ratio"
    return "\n".join(
        f"ratio to {name}: {ratio:.2f} ({'better' if ratio >= 1 else 'worse'} in the figure where we do worst)"
        for name, ratio in ratios.items()
    )


def json_line(bench: str, figures: Sequence[Figure], measured: Sequence[Measured]) -> str:
    """`{"bench", "isthmus", "peers", "ratio"}` on one line. A ratio above 1 says that Isthmus is better."""
    documents = {one.name: _document(one) for one in measured}
    ours = documents.pop(OURS)
    ratios = {name: _rounded(ratio) for name, ratio in _ratios(figures, measured).items()}
    return json.dumps({"bench": bench, OURS: ours, "peers": documents, "ratio": ratios})


def _ratios(figures: Sequence[Figure], measured: Sequence[Measured]) -> dict[str, float]:
    medians = {one.name: one.medians() for one in measured}
    return {name: worst_ratio(figures, medians[OURS], theirs) for name, theirs in medians.items() if name != OURS}


def _document(one: Measured) -> dict[str, object]:
    shares = {role: _rounded(share) for role, share in one.cpu_shares().items()}
    figures = {name: _rounded(value) for name, value in one.medians().items()}
    return {"version": one.version, **figures, **({"cpu_share": shares} if shares else {})}


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *padded]))
    return "\n".join(lines)
