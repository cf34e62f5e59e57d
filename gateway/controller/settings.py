"""What a configuration asks of the controller's parts: federation, listening sockets, workers."""

from __future__ import annotations

import os

from federation.federation import FederationSettings, Peer
from gateway.config import Config
from gateway.control import ListenerSpec
from gateway.controller.etcd_access import peer_source
from gateway.version import VERSION


def federation_settings(config: Config) -> FederationSettings:
    return FederationSettings(
        federation=config.federation,
        cluster=config.cluster.name,
        locality=config.cluster.locality,
        prefix=config.etcd.prefix if config.etcd is not None else "/isthmus",
        peers={
            name: Peer(
                peer.trust_domain,
                peer.root,
                peer_source(config, name),
                peer.bundle_endpoint.source() if peer.bundle_endpoint is not None else None,
                tuple(str(address) for address in peer.gateways),
            )
            for name, peer in config.peers.items()
        },
        imports=config.imports.from_,
        import_limits=config.imports.limits,
        vip_range=str(config.gateway.vip_range),
        state_dir=config.state_dir,
        stale_after_s=config.freshness.stale_after_s,
        withdraw_after_s=config.freshness.withdraw_after_s,
        version=VERSION,
    )


def config_listeners(config: Config) -> list[ListenerSpec]:
    """The sockets that a running gateway moves when their addresses change."""
    mesh, http = config.gateway.mesh, config.gateway.http
    return [
        *([ListenerSpec("mesh", "mesh", str(mesh))] if mesh is not None else []),
        ListenerSpec("http", "http", str(http)),
    ]


def workers_wanted(config: Config) -> int:
    wanted = config.gateway.workers
    return wanted if wanted != "auto" else len(os.sched_getaffinity(0))
