"""pydantic's errors, in words for the person who wrote the file.

Every refusal names the place, what stands there and what was expected there. For the last, the models' field
descriptions serve.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from discovery.config_values import REFUSED, Fault, Location, show
from gateway.config.model import Config

_LATER: tuple[Location, ...] = (
    ("policies",),
    ("kubernetes",),
    ("registry",),
)
"""Keys that the design knows and this version does not. A `*` stands for any key."""

_KEY_MARK = "[key]"
"""What pydantic appends to a location when a mapping's key is meant."""


def faults_of(error: ValidationError) -> list[Fault]:
    """One fault for each of pydantic's errors that says something on its own."""
    details = error.errors(include_url=False)
    locations = [detail["loc"] for detail in details]
    return [_fault(detail) for detail in details if not _follows(detail, locations)]


def _follows(detail: ErrorDetails, locations: list[Location]) -> bool:
    """Whether an error is only the consequence of another: a default that needs a value which was refused, a list
    that is too short once its refused items are left out."""
    if detail["type"] == "too_short":
        place = detail["loc"]
        return any(len(other) > len(place) and other[: len(place)] == place for other in locations)
    return detail["type"] == "default_factory_not_called"


def _fault(detail: ErrorDetails) -> Fault:
    location = tuple(part for part in detail["loc"] if part != _KEY_MARK)
    if detail["type"] == REFUSED:
        context = detail["ctx"]
        return Fault(location, context["message"], context["expected"], context["hint"])
    say = _WORDING.get(detail["type"])
    if say is None:
        return Fault(location, f"{show(detail['input'])} is not accepted", _description(location))
    return say(location, detail)


def _missing(location: Location, detail: ErrorDetails) -> Fault:
    return Fault(location, "missing", _description(location))


def _unknown_key(location: Location, detail: ErrorDetails) -> Fault:
    if any(_matches(location, later) for later in _LATER):
        return Fault(location, "unknown key", hint="this version does not have it yet")
    section = _section(location[:-1])
    known = [key_of(name, field) for name, field in section.model_fields.items()] if section is not None else []
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return Fault(
        location, "unknown key", hint=f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
    )


def _matches(location: Location, pattern: Location) -> bool:
    same_length = len(location) == len(pattern)
    return same_length and all(want in ("*", got) for got, want in zip(location, pattern, strict=True))


def _wrong_type(wanted: str) -> Callable[[Location, ErrorDetails], Fault]:
    def say(location: Location, detail: ErrorDetails) -> Fault:
        value = detail["input"]
        # A list of one is the most likely meaning of a text where a list belongs.
        hint = f"write [{show(value)}]" if wanted == "a list" and isinstance(value, str) else ""
        return Fault(location, f"{show(value)} is not {wanted}", _description(location), hint)

    return say


def _not_listed(location: Location, detail: ErrorDetails) -> Fault:
    expected = detail["ctx"]["expected"].replace("'", "")
    return Fault(location, f"{show(detail['input'])} is not known here", expected)


def _empty(location: Location, detail: ErrorDetails) -> Fault:
    return Fault(location, "empty", _description(location) or "at least one character")


_WORDING: dict[str, Callable[[Location, ErrorDetails], Fault]] = {
    "missing": _missing,
    "extra_forbidden": _unknown_key,
    "literal_error": _not_listed,
    "too_short": _empty,
    "string_too_short": _empty,
    "bool_type": _wrong_type("true or false"),
    "string_type": _wrong_type("text"),
    "tuple_type": _wrong_type("a list"),
    "dict_type": _wrong_type("a mapping"),
    "model_type": _wrong_type("a mapping"),
}


def key_of(name: str, field: FieldInfo) -> str:
    """The key in the file of a model's field."""
    return field.alias or name


def _description(location: Location) -> str:
    """What belongs at `location`, as its field's description says; empty for items of lists and mappings."""
    section = _section(location[:-1])
    for name, field in section.model_fields.items() if section is not None else ():
        if key_of(name, field) == location[-1]:
            return field.description or ""
    return ""


def _section(location: Location) -> type[BaseModel] | None:
    """The model of the mapping at `location`; None where it is no model's."""
    kind: Any = Config
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {key_of(name, field): field.annotation for name, field in kind.model_fields.items()}
            kind = _without_none(fields.get(str(part)))
        else:
            # The last argument of dict[key, value], the first of tuple[value, ...].
            arguments = typing.get_args(kind)
            kind = None if not arguments else arguments[0] if isinstance(part, int) else arguments[-1]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(kind for kind in typing.get_args(annotation) if kind is not type(None))
    return annotation
