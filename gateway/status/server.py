"""Serves the status API, and writes down where everything listens."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import trio
from hypercorn.config import Config as ServerConfig
from hypercorn.trio import serve

from discovery.address import HostPort
from federation.status.app import StatusSource, status_app
from gateway.control import ListenerSpec
from gateway.controller.controller import Controller
from gateway.status.addresses import Addresses, read_addresses, save_addresses
from gateway.status.source import ControllerStatus
from gateway.transport.listeners import Listeners
from gateway.version import VERSION

log = logging.getLogger("isthmus.status")

RESTART_S = 1.0
# A client that sends no whole request for so long is let go.
IDLE_S = 10.0


async def serve_status(controller: Controller, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """The controller's status API, at `status.listen`. Starts with the address really bound. Raises ListenError."""
    source = ControllerStatus(controller)

    def bound(address: str) -> None:
        source.status_address = address
        task_status.started(address)

    await serve_source(source, controller.config.status.listen, bound)


async def serve_source(source: StatusSource, listen: HostPort, bound: Callable[[str], None]) -> None:
    """Serves the API over `source` until cancelled; tells `bound` the real address ("host:port") once it listens.

    Raises ListenError. A fault of the server is logged, and it starts again on the same socket: status must not end
    a controller.
    """
    # Not among the controller's own listeners: those are given to the workers.
    listeners = Listeners()
    sock = listeners.open(ListenerSpec("status", "status", str(listen)))
    # Starlette and Hypercorn describe ASGI's dictionaries by types of their own.
    app = cast(Any, status_app(source, version=VERSION, listen_host=listen.host))
    with sock:
        bound(listeners.address("status"))
        while True:
            try:
                await serve(app, _server_config(sock), mode="asgi")
            except* Exception:
                log.exception("the status API's server failed; it starts again in %g s", RESTART_S)
            await trio.sleep(RESTART_S)


def _server_config(sock: socket.socket) -> ServerConfig:
    config = ServerConfig()
    # The server closes the descriptor that it is given, so it gets one of its own.
    config.bind = [f"fd://{os.dup(sock.fileno())}"]
    config.accesslog = None
    config.errorlog = _server_log()
    config.include_server_header = False
    config.keep_alive_timeout = IDLE_S
    return config


def _server_log() -> logging.Logger:
    """The server tells at INFO that it runs, and where: both are said already."""
    server_log = logging.getLogger("isthmus.status.server")
    server_log.setLevel(logging.WARNING)
    return server_log


def write_addresses(state_dir: Path, controller: Controller, status_address: str) -> None:
    """Has `listeners.json` in the state directory say where we listen."""
    listeners = controller.listeners
    addresses = Addresses(
        mesh=listeners.address("mesh"),
        http=listeners.address("http"),
        dns=listeners.address("dns-udp"),
        status=status_address,
    )
    # Putting a file in place waits for the disk, which is a third of what a reload takes.
    if read_addresses(state_dir) != addresses:
        save_addresses(state_dir, addresses)
