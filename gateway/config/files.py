"""The configuration file and the files that it names: there, readable, and secret where they must be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from discovery.config_values import Fault
from gateway.config.model import Config

_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_OTHERS = stat.S_IRWXO
"""Who is neither the owner nor of the file's group. The group is allowed: it is how a mounted secret reaches a
process that is not root."""


def read_config_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        ValueError: it can't be read, is too large or is no text; says why.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {_reason(error)}") from None
    if len(content) > _MAX_CONFIG_BYTES:
        raise ValueError(f"larger than {_MAX_CONFIG_BYTES // 1024 // 1024} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"not UTF-8 text (line {line} has byte 0x{content[error.start]:02x})") from None


def file_faults(config: Config) -> Iterator[Fault]:
    """What is wrong with the files that `config` names. Reads nothing of what is in them."""
    if config.state_dir.exists() and not config.state_dir.is_dir():
        yield Fault(("state_dir",), f"{config.state_dir} is not a directory", "a directory, made if it is missing")
    for at, path, secret in config.files():
        fault = _file_fault(path, secret)
        if fault:
            yield Fault(at, *fault)


def _file_fault(path: Path, secret: bool) -> tuple[str, str] | None:
    """What is wrong with a file, and what was expected."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return f"{path} is not a file", "a file that this user can read"
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return f"{path} can't be read: {_reason(error)}", "a file that this user can read"
    if secret and status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        return f"{path} is open to every user of this machine (mode {mode:04o})", "mode 0600: chmod 600 it"
    return None


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
