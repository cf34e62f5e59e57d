"""How the processes of a gateway log: all in one form, to the standard error that they share."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime


class _OneLine(logging.Formatter):
    """One line for each record, whatever it holds: what reads logs counts lines. Times are in UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S}.{record.msecs:03.0f}Z"

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


OURS = logging.getLogger("isthmus")
"""Above every logger of ours."""


def log_to_stderr(level: str) -> None:
    """What we say of `level` ("info", "WARNING" …) and above, for as long as this process lives; of the libraries what
    is a warning at least: below that, HPACK's writes each header field down, etcd's tokens among them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    OURS.setLevel(level.upper())
    logging.basicConfig(level=max(OURS.level, logging.WARNING), handlers=[handler], force=True)


def log_level() -> str:
    """The level that we log from, as `log_to_stderr` takes it."""
    return logging.getLevelName(OURS.getEffectiveLevel())
