"""`cluster.yaml` while the gateway runs: read again when it changes or on SIGHUP. A bad one is refused, and the old one
stays."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path

import trio

from gateway.config import Config, ConfigError, ConfigReader
from gateway.config.plan import diff
from gateway.config.plan_state import settings_state
from gateway.transport.listeners import ListenError

log = logging.getLogger("isthmus.controller")

CONFIG_POLL_S = 1.0


class Reloading:
    """Follows the configuration file.

    Args:
        path: the file.
        config: what was read of it when the gateway started.
        take: puts a new configuration to use; raises ListenError or OSError, having changed nothing, if it can't be.
    """

    def __init__(self, path: Path, config: Config, take: Callable[[Config], None]) -> None:
        self.problem = ""
        """Why what the file says is not in use; empty while it is."""
        self._path = path
        self._reader = ConfigReader(path)
        self._seen = _fingerprint(path)
        self._settings = settings_state(config)
        self._take = take

    async def run(self) -> None:
        """Signals that come while a file is taken in are one more reload."""
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            while True:
                asked = False
                with trio.move_on_after(CONFIG_POLL_S):
                    await anext(aiter(signals))
                    asked = True
                now = _fingerprint(self._path)
                if asked or now != self._seen:
                    self._seen = now
                    self.reload()

    def reload(self) -> None:
        """Takes the file in, or says in `problem` why not."""
        try:
            config = self._reader.validate().require()
        except ConfigError as error:
            self._refuse(f"the changed configuration is refused, the old one stays:\n{error}", str(error))
            return
        settings = settings_state(config)
        fixed = [change.name for change in diff(self._settings, settings) if change.restart]
        if fixed:
            self._refuse(f"{', '.join(fixed)} changed, which needs a restart; the old configuration stays")
            return
        try:
            self._take(config)
        except (ListenError, OSError) as error:
            self._refuse(f"{error}; the old configuration stays")
            return
        self._settings = settings
        self.problem = ""
        log.info("took the changed configuration in")

    def _refuse(self, said: str, problem: str = "") -> None:
        self.problem = problem or said
        log.error("%s", said)


def _fingerprint(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
