"""What programs read at the end of a benchmark, and people above it."""

from __future__ import annotations

import json

from tests.bench.rig.figures import Figure, Measured, Sample
from tests.bench.rig.report import json_line, table, verdict

FIGURES = [
    Figure("requests_per_s", "requests/s", higher_is_better=True),
    Figure("cpu_us_per_request", "CPU µs each", higher_is_better=False),
]


def measured(name: str, per_s: float, cpu_us: float) -> Measured:
    sample = Sample({"requests_per_s": per_s, "cpu_us_per_request": cpu_us}, {"east worker": 3.0, "west worker": 1.0})
    return Measured(name, "1.2.3", [sample])


def test_the_json_object_has_the_shape_of_the_issue() -> None:
    line = json_line("http2", FIGURES, [measured("isthmus", 2000, 100), measured("envoy", 1000, 75)])
    assert "\n" not in line
    document = json.loads(line)
    assert document == {
        "bench": "http2",
        "isthmus": {
            "version": "1.2.3",
            "requests_per_s": 2000,
            "cpu_us_per_request": 100,
            "cpu_share": {"east worker": 0.75, "west worker": 0.25},
        },
        "peers": {
            "envoy": {
                "version": "1.2.3",
                "requests_per_s": 1000,
                "cpu_us_per_request": 75,
                "cpu_share": {"east worker": 0.75, "west worker": 0.25},
            }
        },
        "ratio": {"envoy": 0.75},
    }


def test_without_peers_there_is_no_ratio() -> None:
    """A machine without Envoy still measures us, and claims nothing."""
    ours = [measured("isthmus", 2000, 100)]
    document = json.loads(json_line("http2", FIGURES, ours))
    assert (document["peers"], document["ratio"]) == ({}, {})
    assert "no ratio" in verdict(FIGURES, ours)


def test_the_table_compares_figure_by_figure() -> None:
    lines = table(FIGURES, [measured("isthmus", 2000, 100), measured("envoy", 1000, 75)]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["isthmus", "2,000", "100"],
        ["envoy", "1,000", "75.0"],
        ["ratio", "to", "envoy", "2.00", "0.75"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_the_verdict_says_which_way() -> None:
    said = verdict(FIGURES, [measured("isthmus", 2000, 100), measured("envoy", 1000, 75)])
    assert said.startswith("ratio to envoy: 0.75 (worse")
