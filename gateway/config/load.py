"""From a file to a `Config`, or to the list of everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from pydantic import ValidationError

from discovery.config_values import BASE_DIRECTORY, Fault, Location
from gateway.config.checks import config_faults
from gateway.config.document import DocumentError, Node, parse_document
from gateway.config.files import file_faults, read_config_text
from gateway.config.model import Config
from gateway.config.problems import ConfigError, Problem, format_path
from gateway.config.refusals import faults_of


class Validation(msgspec.Struct, frozen=True):
    """What came of a file. `config` is None if one of `problems` is an error; warnings leave it usable."""

    config: Config | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if not problem.warning)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.warning)

    def require(self) -> Config:
        """The configuration.

        Raises:
            ConfigError: with every error, when there is one.
        """
        if self.config is None:
            raise ConfigError(self.errors)
        return self.config


def load_config(path: Path) -> Config:
    """Reads and checks a cluster.yaml, and that the files it names are there.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    return validate_config(path).require()


def validate_config(path: Path) -> Validation:
    """What `isthmus validate` does: as `load_config`, returning problems (warnings as well) in place of raising."""
    try:
        text = read_config_text(path)
    except ValueError as error:
        return Validation(None, (Problem(file=str(path), line=0, path="", message=str(error)),))
    return parse_config(text, path, check_files=True)


def parse_config(text: str, path: Path, *, check_files: bool = False) -> Validation:
    """Checks the text of a configuration. `path` is where it is from, or would be: it names the file in messages, and
    its directory is where relative paths start."""
    try:
        document = parse_document(text)
    except DocumentError as error:
        where = format_path(error.location)
        problem = Problem(file=str(path), line=error.line, path=where, message=error.message, hint=error.hint)
        return Validation(None, (problem,))
    config, faults = _read(document, path)
    if config is not None:
        faults += config_faults(config)
        faults += file_faults(config) if check_files else ()
    problems = _located(faults, document, path)
    usable = config is not None and all(problem.warning for problem in problems)
    return Validation(config if usable else None, problems)


def _read(document: Node, path: Path) -> tuple[Config | None, list[Fault]]:
    """The configuration if each value is well-formed, and what is wrong with values."""
    if document.value is None:
        return None, [Fault((), "empty", "federation, cluster and what docs/reference/config.md lists")]
    if not isinstance(document.value, dict):
        return None, [Fault((), "not a mapping", "federation: …, cluster: … and so on at the beginning of lines")]
    hint = "write one, or remove the key"
    faults = [Fault(location, "has no value", hint=hint) for location in document.empty_locations()]
    try:
        context = {BASE_DIRECTORY: path.absolute().parent}
        return Config.model_validate(document.plain(), context=context), faults
    except ValidationError as error:
        return None, faults + faults_of(error)


def _located(faults: Iterable[Fault], document: Node, path: Path) -> tuple[Problem, ...]:
    """The faults as problems in the order of lines; of several errors at one place only the first, which is
    the cause."""
    problems: dict[tuple[Location, bool], Problem] = {}
    for fault in faults:
        problem = Problem(
            file=str(path),
            line=document.line_of(fault.location),
            path=format_path(fault.location),
            message=fault.message,
            expected=fault.expected,
            hint=fault.hint,
            warning=fault.warning,
        )
        problems.setdefault((fault.location, fault.warning), problem)
    return tuple(sorted(problems.values(), key=lambda problem: problem.line))
