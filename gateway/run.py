"""`isthmus run`: one gateway, from its configuration file until it is told to stop."""

from __future__ import annotations

import logging
import signal
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import trio

from federation.etcd.client import open_etcd
from federation.etcd.config import EtcdConfig
from gateway.config import Config
from gateway.controller import Controller, wall_clock
from gateway.descriptors import raise_descriptor_limit
from gateway.etcd_access import etcd_config
from gateway.garbage import tame_garbage_collector
from gateway.private_etcd import private_etcd
from gateway.state_dir import locked, prepare
from gateway.status_server import serve_status, write_addresses
from gateway.trust_sources import AGENT_WAIT_S, open_workload
from trust.workload_authority import WorkloadAuthority

log = logging.getLogger("isthmus")


async def run_gateway(config: Config, config_path: Path) -> None:
    """Runs until SIGTERM or SIGINT. Raises StateDirError, TrustError, ListenError, PrivateEtcdError: what keeps a
    gateway from starting."""
    raise_descriptor_limit()
    tame_garbage_collector()
    prepare(config.state_dir)
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(config.state_dir))
        etcd_config = await _etcd(config, stack)
        etcd = await stack.enter_async_context(open_etcd(etcd_config))
        # Before anything starts, so that a Ctrl-C at any moment leaves nothing behind.
        signals = stack.enter_context(trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT))
        async with trio.open_nursery() as nursery:
            controller = Controller(config, config_path, await _workload(config))
            # Before the workers: what keeps this socket from opening shall leave no processes behind.
            status_address = await nursery.start(serve_status, controller)
            await controller.start(nursery, etcd)
            controller.moved = partial(write_addresses, config.state_dir, controller, status_address)
            controller.moved()
            log.info("the gateway of cluster %s runs; its status is at http://%s", config.cluster.name, status_address)
            async for number in signals:
                log.info("%s: draining the workers", signal.Signals(number).name)
                break
            await controller.stop()
            nursery.cancel_scope.cancel()


async def _workload(config: Config) -> WorkloadAuthority | None:
    """The identity that a Workload API gives, where one is named. Raises TrustError."""
    if config.trust.workload_api is None:
        return None
    log.info("waiting for an identity from %s", config.trust.workload_api)
    return await open_workload(config, wall_clock, AGENT_WAIT_S)


async def _etcd(config: Config, stack: AsyncExitStack) -> EtcdConfig:
    """Where the federation's etcd is; a configuration without one has a private one started."""
    section = config.etcd
    if section is None:
        private = await stack.enter_async_context(private_etcd(config.state_dir))
        log.info(
            "no etcd is configured: a private one runs at %s; other clusters may name it under etcd.endpoints",
            private.endpoint,
        )
        return EtcdConfig(endpoints=(private.endpoint,))
    return etcd_config(section)
