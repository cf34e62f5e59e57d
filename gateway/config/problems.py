"""What is wrong with a configuration, said to the person who wrote it."""

from __future__ import annotations

import json
import re

import msgspec

from discovery.config_values import Location

_MAX_PRINTED = 50
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or with `warning` one that looks wrong and does not keep a gateway from starting.

    `line` counts from 1, 0 when the file as a whole is meant. `path` is the place as `a.b[0].c`, empty for the whole.
    """

    file: str
    line: int
    path: str
    message: str
    expected: str = ""
    hint: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:" if self.line else f"{self.file}:"
        parts = [place, "warning:" if self.warning else "", f"{self.path}:" if self.path else ""]
        said = self.message + (f"; expected {self.expected}" if self.expected else "")
        return " ".join(part for part in (*parts, said + (f"; {self.hint}" if self.hint else "")) if part)


class ConfigError(Exception):
    """A configuration that was refused. `str()` is one line for each problem."""

    code = "config"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        lines = [str(problem) for problem in problems[:_MAX_PRINTED]]
        if len(problems) > _MAX_PRINTED:
            lines.append(f"and {len(problems) - _MAX_PRINTED} more problems")
        super().__init__("\n".join(lines))


def format_path(location: Location) -> str:
    """`("services", 0, "name")` as `services[0].name`. A key with other characters is quoted."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            key = part if _PLAIN_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            path += f".{key}" if path else key
    return path
