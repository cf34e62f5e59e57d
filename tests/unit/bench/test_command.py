"""The command line of the benchmarks: what is refused, and what becomes of things that go wrong."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import benchmarks
from tests.bench.rig.command import Arguments, guarded, parse
from tests.bench.rig.contender import BenchError, MissingProgram

ASKED_FOR = {"http2", "http1", "grpc", "latency", "tcp", "connect", "memory"}


def test_the_registry_lists_every_benchmark_with_a_summary() -> None:
    listed = benchmarks()
    assert listed.keys() >= ASKED_FOR
    assert all(listed.values())


def test_defaults() -> None:
    assert parse("http2", "", [], default_seconds=2.0) == Arguments(False, 3, 2.0, ["envoy", "haproxy"])


@pytest.mark.parametrize("argv", [["--rounds", "0"], ["--seconds", "-1"], ["--peers", "nobody"], ["--frobnicate"]])
def test_nonsense_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("http2", "", argv, default_seconds=2.0)
    assert ended.value.code == 2
    assert "usage: python -m tests.bench http2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(MissingProgram("apt install it"), 2), (BenchError("a request failed"), 1), (KeyboardInterrupt(), 130)],
)
def test_what_goes_wrong_has_an_exit_code(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        raise error

    assert guarded(run) == code
    assert str(error) in capsys.readouterr().err


def test_notes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """They hold the ends of the logs, without which a gateway that did not start is a riddle."""

    def run() -> None:
        error = BenchError("east is not ready")
        error.add_note("--- gateway.log\nport in use")
        raise error

    guarded(run)
    assert "port in use" in capsys.readouterr().err
