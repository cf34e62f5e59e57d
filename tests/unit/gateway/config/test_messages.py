"""Every refusal, word for word: what a person reads is part of the interface.

Each `tests/golden/config/<case>.yaml` has the messages that it earns in `<case>.txt`. After a change of wording,
`python -m tests.unit.gateway.config.test_messages` writes them anew: read the difference before keeping it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import parse_config

_CASES = sorted((Path(__file__).parents[3] / "golden" / "config").glob("*.yaml"))
_PYDANTIC_WORDS = ("input should", "pydantic", "valid ", "validation error", "field required", "type=", "none")


def _messages(case: Path) -> str:
    problems = parse_config(case.read_text(), Path("cluster.yaml")).problems
    return "".join(f"{problem}\n" for problem in problems)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.stem)
def test_messages_are_the_expected_ones(case: Path) -> None:
    """Each mistake is named at its line with what was expected, and nothing else is said."""
    assert _messages(case) == case.with_suffix(".txt").read_text()


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.stem)
def test_messages_are_in_our_words(case: Path) -> None:
    """Whoever writes a cluster.yaml need not know what checks it; each line says where to look."""
    for line in _messages(case).splitlines():
        assert line.startswith("cluster.yaml:")
        assert not any(word in line.lower().replace("not valid yaml", "") for word in _PYDANTIC_WORDS)


def test_every_kind_of_error_that_the_models_can_give_is_worded() -> None:
    """The fallback sentence (`… is not accepted`) tells a person too little: no case needs it."""
    assert not any("is not accepted" in _messages(case) for case in _CASES)


if __name__ == "__main__":
    for written in _CASES:
        written.with_suffix(".txt").write_text(_messages(written))
