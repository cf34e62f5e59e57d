"""The values that every section of cluster.yaml is made of, and how they are refused.

A refusal is a sentence for the person who wrote the file: what stands there, and what was expected. Only modules
that read configuration import this one (it needs pydantic): nothing that a worker loads does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from discovery.address import HostPort, parse_host_port, parse_ip
from discovery.model import is_dns_label

Location: TypeAlias = tuple[str | int, ...]
"""Where in the file: keys and list positions, from the root."""

REFUSED = "refused"
"""The error type of `refuse`: its context holds `message`, `expected` and `hint`."""

BASE_DIRECTORY = "base_directory"
"""The key of the validation context: the `Path` that relative paths start from."""

_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_PLACE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?")
_MAX_SHOWN = 60
_MAX_CLUSTER_NAME = 32


class Section(BaseModel):
    """A mapping of cluster.yaml: unknown keys are refused, nothing is converted silently, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Fault(NamedTuple):
    """Something that is wrong although every value is well-formed. A warning does not keep a gateway from starting."""

    location: Location
    message: str
    expected: str = ""
    hint: str = ""
    warning: bool = False


def refuse(message: str, expected: str = "", hint: str = "") -> PydanticCustomError:
    """An error for a validator to raise. Each part is a clause without a final stop."""
    return PydanticCustomError(REFUSED, "{message}", {"message": message, "expected": expected, "hint": hint})


def show(value: object) -> str:
    """A value as its writer would recognise it, on one line and short."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple | list):
        return "a list"
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _MAX_SHOWN else shown[: _MAX_SHOWN - 2] + '…"'


def text_of(value: object, expected: str) -> str:
    """`value` if it is text."""
    if isinstance(value, str):
        return value
    raise refuse(f"{show(value)} is not text", expected)


def text_that(accepts: Callable[[str], object], what: str, expected: str) -> PlainValidator:
    """A validator for text that `accepts` likes. Otherwise: "…" is not `what`; expected `expected`."""

    def validate(value: Any) -> str:
        if not isinstance(value, str) and accepts(show(value)):
            raise refuse(f"{show(value)} is not text", expected, f'write "{show(value)}" with quotes if it is meant')
        text = text_of(value, expected)
        if not accepts(text):
            raise refuse(f"{show(text)} is not {what}", expected)
        return text

    return PlainValidator(validate)


def is_cluster_name(text: str) -> bool:
    """Whether `text` can name a cluster: an RFC 1123 label of at most 32 characters."""
    return is_dns_label(text) and len(text) <= _MAX_CLUSTER_NAME


CLUSTER_NAME_FORM = "1 to 32 of a-z, 0-9 and -, not beginning or ending with -"
Label = Annotated[
    str,
    text_that(is_dns_label, "a DNS label", "1 to 63 of a-z, 0-9 and -, not beginning or ending with -"),
]
ClusterName = Annotated[str, text_that(is_cluster_name, "a cluster name", CLUSTER_NAME_FORM)]
ClusterNameOrAll = Annotated[
    str,
    text_that(
        lambda text: text == "*" or is_cluster_name(text),
        "a cluster name",
        f'{CLUSTER_NAME_FORM}; or "*" for every peer',
    ),
]
Place = Annotated[
    str, text_that(_PLACE.fullmatch, "a region or zone", "1 to 63 letters, digits, -, _ and ., like us-east-1a")
]


def parse_duration(text: str) -> float:
    """Reads `250ms`, `0.5s`, `1m`, `24h` as seconds.

    Raises:
        ValueError: it has another form.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"not a duration: {show(text)}")
    return float(found[1]) * _SECONDS_PER_UNIT[found[2]]


def duration(least: str, most: str) -> PlainValidator:
    """A validator: a duration between two others, as a float of seconds."""
    least_s, most_s = parse_duration(least), parse_duration(most)
    expected = f"a number with its unit (ms, s, m or h), from {least} to {most}, like 5s"

    def validate(value: Any) -> float:
        try:
            seconds = parse_duration(value if isinstance(value, str) else "")
        except ValueError:
            raise refuse(f"{show(value)} is not a duration", expected) from None
        if not least_s <= seconds <= most_s:
            raise refuse(f"{value} is too {'short' if seconds < least_s else 'long'}", f"{least} to {most}")
        return seconds

    return PlainValidator(validate)


def read_whole_number(value: object, least: int, most: int, what: str) -> int:
    """`value` if it is a whole number of the range, `what` it is."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(f"{show(value)} is not {what}", f"a whole number, {least} to {most}")
    if not least <= value <= most:
        raise refuse(f"{show(value)} is not {what}", f"{least} to {most}")
    return value


def whole_number(least: int, most: int, what: str) -> PlainValidator:
    """A validator: a whole number of the range, `what` it is."""

    def validate(value: Any) -> int:
        return read_whole_number(value, least, most, what)

    return PlainValidator(validate)


_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


def percent(least: int, most: int) -> PlainValidator:
    """A validator: a percentage between two others, as a fraction of 1."""
    expected = f"a percentage, from {least}% to {most}%, like 50%"

    def validate(value: Any) -> float:
        found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise refuse(f"{show(value)} is not a percentage", expected)
        if not least <= float(found[1]) <= most:
            raise refuse(f"{value} is too {'little' if float(found[1]) < least else 'much'}", f"{least}% to {most}%")
        return float(found[1]) / 100

    return PlainValidator(validate)


PortNumber = Annotated[int, whole_number(1, 65535, "a port")]


def _host_port(value: Any, expected: str) -> HostPort:
    text = text_of(value, expected)
    try:
        return parse_host_port(text)
    except ValueError as error:
        raise refuse(f"{show(text)} {error}", expected) from None


def _listen(value: Any) -> HostPort:
    expected = 'an IP address and a port (0: any free one), like 127.0.0.1:15080 or "[::1]:15080"'
    address = _host_port(value, expected)
    if address.ip is None:
        raise refuse(f"{show(value)} has a name in place of an IP address", expected)
    return address


def _reachable(value: Any) -> HostPort:
    expected = "host:port that peers can reach, like gw.east.example:15443"
    address = _host_port(value, expected)
    if address.port == 0:
        raise refuse(f"{show(value)} has port 0, which nobody can reach", expected)
    if address.is_wildcard:
        raise refuse(f"{show(value)} is no address that peers can reach", expected)
    return address


ListenAddress = Annotated[HostPort, PlainValidator(_listen)]
ReachableAddress = Annotated[HostPort, PlainValidator(_reachable)]


def _ip(value: Any) -> str:
    expected = "an IP address, like 127.0.0.1"
    address = parse_ip(text_of(value, expected))
    if address is None or address.is_unspecified or address.is_multicast:
        raise refuse(f"{show(value)} is not an IP address that can be reached", expected)
    return str(address)


IPAddress = Annotated[str, PlainValidator(_ip)]


def _path(value: Any, info: ValidationInfo) -> Path:
    text = text_of(value, "a path")
    if not text or "\0" in text:
        raise refuse(f"{show(text)} is not a path", "a path; a relative one starts from this file's directory")
    written = Path(text).expanduser() if text.startswith("~/") else Path(text)
    base: Path = (info.context or {}).get(BASE_DIRECTORY, Path())
    return base / written


FilePath = Annotated[Path, PlainValidator(_path)]
