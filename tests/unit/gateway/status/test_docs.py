"""The reference pages of the command and the status API say everything that there is, and nothing else."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec
import pytest

from federation.status.peer_values import ClusterDocument
from federation.status.routes import ANSWERS
from federation.status.values import ProblemDocument
from gateway.cli import exit_codes
from gateway.cli.parser import make_parser
from gateway.controller.totals import Totals
from gateway.events.event_text import EVENT_KINDS
from gateway.status import metrics as status_metrics
from gateway.status import problems as status_problems
from tests.unit.gateway.status.test_metrics import Registry

_ROOT = Path(__file__).parents[4]
_API = (_ROOT / "docs" / "reference" / "status-api.md").read_text()
_CLI = (_ROOT / "docs" / "reference" / "cli.md").read_text()
_GOLDEN = _ROOT / "tests" / "golden" / "cli"


def _section(page: str, title: str) -> str:
    return re.split(r"^## ", page.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def _rows(text: str) -> list[str]:
    """The first cells of a table's rows, without their back-ticks."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def _commands() -> dict[str, argparse.ArgumentParser]:
    actions = make_parser()._actions
    return dict(next(action.choices for action in actions if isinstance(action, argparse._SubParsersAction)))


def test_every_path_is_listed() -> None:
    """In the API's own order."""
    assert _rows(_API.split("## ")[0]) == [answer.path for answer in ANSWERS]


def test_every_metric_is_listed_with_its_labels() -> None:
    """A dashboard is written from this table."""
    documented = re.findall(r"^\| `(isthmus_\w+)` \| (.*?) \|", _section(_API, "Metrics"), re.MULTILINE)
    families = [*Registry().collect(), *Totals().collect()]
    exposed = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert {name for name, _ in documented} == exposed
    specs = {spec.name: spec for spec in vars(status_metrics).values() if hasattr(spec, "labels")}
    for name, labels in documented:
        spec = specs.get(name.removesuffix("_total"))
        if spec is not None:
            assert tuple(re.findall(r"`(\w+)`", labels)) == spec.labels, name


def test_every_kind_of_problem_is_listed() -> None:
    """As the documents' own docstring and the code that makes them have it."""
    source = Path(status_problems.__file__).read_text()
    made = set(re.findall(r'ProblemDocument\(\s*"(\w+)"', source))
    assert set(_rows(_section(_API, "Problems"))) == made
    described = (_ROOT / "federation" / "status" / "values.py").read_text().split("class ProblemDocument")[1]
    assert set(re.findall(r"`(\w+)`", described.split('"""')[3])) == made
    assert ProblemDocument.__struct_fields__ == ("kind", "subject", "message")


def test_every_kind_of_event_is_listed() -> None:
    """In the code's own order: first what workers see, then the controller."""
    assert tuple(_rows(_section(_API, "Events"))) == EVENT_KINDS


def test_the_example_of_a_peer_has_real_fields() -> None:
    """It leaves fields out for brevity, and has none that do not exist."""
    example = msgspec.json.decode(_API.split("```json\n")[1].split("```")[0])
    fields = {field.name: field.type for field in msgspec.structs.fields(ClusterDocument)}
    assert example.keys() == fields.keys()
    for part in ("control", "data", "services"):
        assert example[part].keys() <= {field.name for field in msgspec.structs.fields(fields[part])}


@pytest.mark.parametrize("name", sorted(_commands()))
def test_every_option_of_a_command_is_documented(name: str) -> None:
    """In the command's own section, or where the options of several are."""
    section = _section(_CLI, name) + _section(_CLI, "Which gateway")
    for action in _commands()[name]._actions:
        for option in action.option_strings:
            assert option in ("-h", "--help") or option in section, f"{name} {option}"
    assert f"`isthmus {name}" in _CLI.split("\n## ")[0]


def test_no_command_is_missing() -> None:
    """A new one needs a section."""
    titles = set(re.findall(r"^## (\w+)$", _CLI, re.MULTILINE))
    assert set(_commands()) == titles


def test_every_exit_status_is_documented() -> None:
    """Scripts depend on them."""
    documented = {int(number) for number in re.findall(r"^\| (\d+) \|", _section(_CLI, "Exit status"), re.MULTILINE)}
    assert documented == {value for value in vars(exit_codes).values() if isinstance(value, int)}


@pytest.mark.parametrize("name", ["status", "services", "resolve", "explain", "events"])
def test_examples_are_real_output(name: str) -> None:
    """What the page shows is what the command prints."""
    assert (_GOLDEN / f"{name}.txt").read_text() in _section(_CLI, name)
