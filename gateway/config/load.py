"""From a file to a `Config`, or to the list of everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from pydantic import ValidationError

from discovery.config import ServiceConfig
from discovery.config_values import BASE_DIRECTORY, Fault, Location
from gateway.config.checks import config_faults
from gateway.config.document import DocumentError, Entry, Node
from gateway.config.entries import SERVICES, Entries
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

    def require(self) -> Config:
        """The configuration.

        Raises:
            ConfigError: with every error, when there is one.
        """
        if self.config is None:
            raise ConfigError(self.errors)
        return self.config


class ConfigReader:
    """Reads one cluster.yaml again and again. An entry of `services` that has not changed since the last time is
    neither parsed nor checked again by itself.

    Args:
        path: where the text is from, or would be: it names the file in messages, and its directory is where relative
            paths start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = Entries()
        self._known: dict[int, tuple[Node, ServiceConfig]] = {}
        """The entries that were there last time, each by the identity of its node, and what they are."""

    def validate(self) -> Validation:
        """What `isthmus validate` does: checks the file, and that the files it names are there."""
        try:
            text = read_config_text(self._path)
        except ValueError as error:
            return Validation(None, (Problem(file=str(self._path), line=0, path="", message=str(error)),))
        return self.parse(text, check_files=True)

    def parse(self, text: str, *, check_files: bool = False) -> Validation:
        """Checks the text of a configuration."""
        path = self._path
        try:
            document = self._entries.parse(text)
        except DocumentError as error:
            where = format_path(error.location)
            problem = Problem(file=str(path), line=error.line, path=where, message=error.message, hint=error.hint)
            return Validation(None, (problem,))
        config, faults = self._read(document)
        if config is not None:
            faults += config_faults(config)
            faults += file_faults(config) if check_files else ()
        problems = _located(faults, document, path)
        usable = config is not None and all(problem.warning for problem in problems)
        return Validation(config if usable else None, problems)

    def _read(self, document: Node) -> tuple[Config | None, list[Fault]]:
        """The configuration if each value is well-formed, and what is wrong with values."""
        if document.value is None:
            return None, [Fault((), "empty", "federation, cluster and what docs/reference/config.md lists")]
        if not isinstance(document.value, dict):
            return None, [Fault((), "not a mapping", "federation: …, cluster: … and so on at the beginning of lines")]
        hint = "write one, or remove the key"
        faults = [Fault(location, "has no value", hint=hint) for location in self._empty_locations(document.value)]
        context = {BASE_DIRECTORY: self._path.absolute().parent}
        try:
            config = Config.model_validate(self._plain(document.value), context=context)
        except ValidationError as error:
            return None, faults + faults_of(error)
        if not faults:
            services = zip(_services(document.value), config.services, strict=True)
            self._known = {id(node): (node, service) for node, service in services}
        return config, faults

    def _plain(self, sections: dict[str, Entry]) -> dict[str, object]:
        """The document's values; for the entries that are known, what they are."""
        plain: dict[str, object] = {}
        for key, entry in sections.items():
            if key == SERVICES and isinstance(entry.node.value, list):
                known = self._known
                plain[key] = tuple(known[id(n)][1] if id(n) in known else n.plain() for n in entry.node.value)
            else:
                plain[key] = entry.node.plain()
        return plain

    def _empty_locations(self, sections: dict[str, Entry]) -> Iterator[Location]:
        for key, entry in sections.items():
            if key != SERVICES or not isinstance(entry.node.value, list):
                yield from entry.node.empty_locations((key,))
        for index, node in enumerate(_services(sections)):
            # One that is known has none.
            if id(node) not in self._known:
                yield from node.empty_locations((SERVICES, index))


def _services(sections: dict[str, Entry]) -> list[Node]:
    entry = sections.get(SERVICES)
    return entry.node.value if entry is not None and isinstance(entry.node.value, list) else []


def load_config(path: Path) -> Config:
    """Reads and checks a cluster.yaml, and that the files it names are there.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    return validate_config(path).require()


def validate_config(path: Path) -> Validation:
    """As `load_config`, returning problems (warnings as well) in place of raising."""
    return ConfigReader(path).validate()


def parse_config(text: str, path: Path, *, check_files: bool = False) -> Validation:
    """As `ConfigReader.parse`, once."""
    return ConfigReader(path).parse(text, check_files=check_files)


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
