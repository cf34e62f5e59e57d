"""`python -m tests.bench.rig.registering_gateway CLUSTER.YAML ENDPOINT_PORT`: a gateway with a source of services.

It is `isthmus run`, with the standard input as one more source beside the file: what registers there goes the way of
every local service, from the controller on. All services have one endpoint, on 127.0.0.1.

    fill COUNT             registers COUNT services                       answers "filled SECONDS"
    put NAME               registers bench/NAME                           answers "put NAME SECONDS-OF-THE-CLOCK"
    stream PER_S SECONDS   registers one after another, bench/stream-N    answers "put …" for one in eight, then
                                                                          "streamed COUNT SECONDS"
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import trio

from discovery.model import Endpoint, LocalService, Port, Protocol, ServiceName
from federation.etcd.client import open_etcd
from gateway.config import load_config
from gateway.controller.controller import Controller
from gateway.controller.etcd_access import etcd_config
from gateway.process.descriptors import raise_descriptor_limit
from gateway.process.garbage import tame_garbage_collector
from gateway.process.state_dir import locked
from gateway.status.server import serve_status, write_addresses
from tests.bench.rig.command_pipe import answer, commands
from tests.bench.rig.signed_catalog import PORT, service_name

NAMESPACE = "bench"
SAMPLED = 8
_TURN = 64


class Source:
    def __init__(self, controller: Controller, endpoint_port: int) -> None:
        self._controller = controller
        self._endpoint = Endpoint("127.0.0.1", {"http": endpoint_port})
        self._streamed = 0

    def put(self, name: ServiceName) -> float:
        """Returns when, by the clock that all processes of a machine share."""
        now = time.monotonic()
        port = Port("http", PORT, Protocol.HTTP)
        self._controller.services.put(LocalService(name, (port,), (self._endpoint,), export_to=("*",)))
        return now

    async def fill(self, cluster: str, count: int) -> float:
        began = trio.current_time()
        for number in range(count):
            self.put(service_name(cluster, number))
            if number % _TURN == 0:
                await trio.lowlevel.checkpoint()
        return trio.current_time() - began

    async def stream(self, per_s: float, duration_s: float) -> tuple[int, float]:
        began, done = trio.current_time(), 0
        while (elapsed_s := trio.current_time() - began) < duration_s:
            while done < elapsed_s * per_s:
                name = f"stream-{self._streamed}"
                at = self.put(ServiceName(NAMESPACE, name))
                if self._streamed % SAMPLED == 0:
                    answer("put", name, at)
                self._streamed += 1
                done += 1
            await trio.sleep(0.002)
        return done, trio.current_time() - began


async def serve(config_path: Path, endpoint_port: int) -> None:
    config = load_config(config_path)
    assert config.etcd is not None
    raise_descriptor_limit()
    tame_garbage_collector()
    with locked(config.state_dir):
        async with open_etcd(etcd_config(config.etcd)) as etcd, trio.open_nursery() as nursery:
            controller = Controller(config, config_path)
            status_address = await nursery.start(serve_status, controller)
            await controller.start(nursery, etcd)
            write_addresses(config.state_dir, controller, status_address)
            source = Source(controller, endpoint_port)
            async for command, *words in commands():
                if command == "fill":
                    answer("filled", await source.fill(config.cluster.name, int(words[0])))
                elif command == "put":
                    answer("put", words[0], source.put(ServiceName(NAMESPACE, words[0])))
                else:
                    answer("streamed", *await source.stream(float(words[0]), float(words[1])))
            await controller.stop()
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(serve, Path(sys.argv[1]), int(sys.argv[2]))
