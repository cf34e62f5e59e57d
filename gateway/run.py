"""`isthmus run`: one gateway, from its configuration file until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import trio

from federation.etcd.client import open_etcd
from federation.etcd.config import EtcdConfig
from gateway.config import Config
from gateway.controller.controller import Controller, wall_clock
from gateway.controller.etcd_access import etcd_config
from gateway.controller.private_etcd import private_etcd
from gateway.controller.upgrade import UpgradeError, check_installed, replace_program, take_order
from gateway.process.descriptors import raise_descriptor_limit
from gateway.process.garbage import nothing_is_garbage, tame_garbage_collector
from gateway.process.huge_pages import use_huge_pages
from gateway.process.state_dir import locked, prepare
from gateway.status.server import serve_status, write_addresses
from gateway.trust_keeping.sources import AGENT_WAIT_S, open_workload
from trust.workload_authority import WorkloadAuthority

log = logging.getLogger("isthmus")


async def run_gateway(config: Config, config_path: Path) -> None:
    """Runs until SIGTERM or SIGINT, or until SIGUSR2 puts another program into this process. Raises StateDirError,
    TrustError, ListenError, PrivateEtcdError: what keeps a gateway from starting."""
    upgraded = take_order(os.environ)
    raise_descriptor_limit()
    tame_garbage_collector()
    use_huge_pages()
    prepare(config.state_dir)
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(config.state_dir))
        etcd_config = await _etcd(config, stack)
        etcd = await stack.enter_async_context(open_etcd(etcd_config))
        # Before anything starts, so that a Ctrl-C at any moment leaves nothing behind.
        signals = stack.enter_context(trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2))
        async with trio.open_nursery() as nursery:
            workload = await _workload(config)
            with nothing_is_garbage():
                controller = Controller(config, config_path, workload)
                # Before the workers: what keeps this socket from opening shall leave no processes behind.
                status_address = await nursery.start(serve_status, controller)
                await controller.start(nursery, etcd, replace_workers=upgraded)
            controller.moved = partial(write_addresses, config.state_dir, controller, status_address)
            controller.moved()
            log.info("the gateway of cluster %s runs; its status is at http://%s", config.cluster.name, status_address)
            async for number in signals:
                if number != signal.SIGUSR2:
                    log.info("%s: draining the workers", signal.Signals(number).name)
                    break
                await _upgrade(controller, config_path)
            await controller.stop()
            nursery.cancel_scope.cancel()


async def _upgrade(controller: Controller, config_path: Path) -> None:
    """Returns if it is refused. What is under way is left as a crash would leave it: a goodbye to the peers, or to the
    workers, would be wrong."""
    log.info("SIGUSR2: looking at what is installed now")
    try:
        await check_installed(config_path)
        log.info("what is installed now takes over")
        controller.federation.save()
        replace_program()
    except UpgradeError as error:
        controller.upgrade_problem = f"{wall_clock():%H:%M:%S}: {error}"
        log.error("the upgrade is refused, and the gateway goes on: %s", error)


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
