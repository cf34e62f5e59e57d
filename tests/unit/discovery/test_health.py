"""The health driver: in virtual time with a fake probe, and once for real."""

from __future__ import annotations

import random
from collections import Counter

import trio
from trio.testing import MockClock

from discovery.health import CONCURRENT_PROBES, EndpointHealthChanged, HealthMonitor
from discovery.health_state import Probe
from discovery.model import Endpoint, HealthCheck, LocalService, Port, Protocol, ServiceName

PAYMENTS = ServiceName("shop", "payments")
HTTP = Port("http", 80, Protocol.HTTP)
CHECK = HealthCheck(http_path="/healthz", interval_s=1.0, timeout_s=0.5, rise=2, fall=3)


def service(*ports: int, name: ServiceName = PAYMENTS, check: HealthCheck | None = CHECK) -> LocalService:
    return LocalService(name, (HTTP,), tuple(Endpoint("127.0.0.1", {"http": port}) for port in ports), check)


class FakeEndpoints:
    """Endpoints that answer as the test says. `duration_s` is how long a check takes."""

    def __init__(self) -> None:
        self.failures: dict[int, str] = {}
        self.checked: Counter[int] = Counter()
        self.duration_s = 0.0
        self.under_way = self.most_under_way = 0

    async def __call__(self, probe: Probe) -> str | None:
        self.checked[probe.port] += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await trio.sleep(self.duration_s)
        self.under_way -= 1
        return self.failures.get(probe.port)


class Watch:
    def __init__(self) -> None:
        self.endpoints = FakeEndpoints()
        self.said: list[tuple[float, int, bool]] = []
        self.monitor = HealthMonitor(self.note, random.Random(1), probe=self.endpoints)

    def note(self, change: EndpointHealthChanged) -> None:
        self.said.append((trio.current_time(), change.endpoint.ports["http"], change.healthy))


async def test_an_endpoint_that_dies_is_found_within_fall_intervals(autojump_clock: MockClock) -> None:
    """And found again when it returns, within `rise` intervals."""
    watch = Watch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.monitor.run)
        watch.monitor.upsert(service(9001, 9002))
        await trio.sleep(10)
        assert watch.said == []
        died = trio.current_time()
        watch.endpoints.failures[9002] = "refused"
        await trio.sleep(10)
        [(found, port, healthy)] = watch.said
        assert (port, healthy) == (9002, False)
        assert 1.8 <= found - died <= 3
        assert not watch.monitor.is_healthy(PAYMENTS, Endpoint("127.0.0.1", {"http": 9002}))
        returned = trio.current_time()
        watch.endpoints.failures.clear()
        await trio.sleep(10)
        assert watch.said[1][1:] == (9002, True)
        assert watch.said[1][0] - returned <= 2
        nursery.cancel_scope.cancel()


async def test_checks_follow_the_list_of_services(autojump_clock: MockClock) -> None:
    """What is added while it runs is checked at once, what is removed no more."""
    watch = Watch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.monitor.run)
        await trio.sleep(5)
        watch.monitor.upsert(service(9001))
        await trio.sleep(5.5)
        assert 5 <= watch.endpoints.checked[9001] <= 7
        watch.monitor.upsert(service(9001, 9002))
        await trio.sleep(0.1)
        assert watch.endpoints.checked[9002] == 1
        assert [change[1:] for change in watch.said] == [(9002, False), (9002, True)]
        watch.monitor.remove(PAYMENTS)
        await trio.sleep(1)
        before = watch.endpoints.checked.copy()
        await trio.sleep(20)
        assert watch.endpoints.checked == before
        assert [*watch.monitor.counts()] == []
        nursery.cancel_scope.cancel()


async def test_many_slow_checks_are_limited(autojump_clock: MockClock) -> None:
    """Hundreds of hanging endpoints must not open as many sockets at once, nor be forgotten."""
    watch = Watch()
    watch.endpoints.duration_s = 0.5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.monitor.run)
        watch.monitor.upsert(service(*range(1000, 1300)))
        await trio.sleep(20)
        assert watch.endpoints.most_under_way == CONCURRENT_PROBES
        assert set(watch.endpoints.checked) == set(range(1000, 1300))
        nursery.cancel_scope.cancel()


async def test_hanging_endpoints_do_not_delay_the_checks_of_living_ones(autojump_clock: MockClock) -> None:
    """Hundreds of endpoints behind a blackhole take all slots there are for what is down, and none of the others:
    a living endpoint that dies is still found in `fall` intervals."""
    died_at = 1000.0

    async def probe(made: Probe) -> str | None:
        if made.port != 1:
            await trio.sleep(made.check.timeout_s)
            return "timeout"
        return "refused" if trio.current_time() >= died_at else None

    said: list[tuple[float, int]] = []
    monitor = HealthMonitor(
        lambda change: said.append((trio.current_time(), change.endpoint.ports["http"])), random.Random(1), probe=probe
    )
    check = HealthCheck(interval_s=1.0, timeout_s=1.0, fall=3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run)
        monitor.upsert(service(*range(1000, 1600), name=ServiceName("shop", "gone"), check=check))
        await trio.sleep(30)
        assert len(said) == 600
        monitor.upsert(service(1, check=check))
        died_at = trio.current_time() + 5
        await trio.sleep(10)
        [found] = [at for at, port in said if port == 1]
        assert found - died_at <= 3
        nursery.cancel_scope.cancel()


async def test_a_hanging_endpoint_does_not_delay_another_services_checks(autojump_clock: MockClock) -> None:
    """Each check is a task of its own."""
    watch = Watch()

    async def probe(made: Probe) -> str | None:
        if made.port == 9001:
            await trio.sleep_forever()
        return await watch.endpoints(made)

    monitor = HealthMonitor(watch.note, random.Random(1), probe=probe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run)
        monitor.upsert(service(9001))
        monitor.upsert(service(9002, name=ServiceName("shop", "ledger")))
        await trio.sleep(10)
        assert watch.endpoints.checked[9002] >= 9
        nursery.cancel_scope.cancel()


async def test_a_real_server_that_stops() -> None:
    """From a listening HTTP server to `refused`, on real sockets and a real clock."""
    said: list[EndpointHealthChanged] = []
    changed = trio.Event()

    def note(change: EndpointHealthChanged) -> None:
        said.append(change)
        changed.set()

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with trio.open_nursery() as nursery:
        monitor = HealthMonitor(note, random.Random(1))
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        serving = trio.CancelScope()

        async def serve() -> None:
            with serving:
                await trio.serve_listeners(answer, [listener])

        port = listener.socket.getsockname()[1]
        nursery.start_soon(serve)
        nursery.start_soon(monitor.run)
        check = HealthCheck(http_path="/healthz", interval_s=0.02, timeout_s=1, rise=1, fall=2)
        monitor.upsert(service(port, check=check))
        with trio.fail_after(20):
            while monitor.endpoints(PAYMENTS)[0].state != "healthy":
                await trio.sleep(0.005)
            assert said == []
            serving.cancel()
            await changed.wait()
        assert [(change.service, change.healthy, change.reason) for change in said] == [(PAYMENTS, False, "refused")]
        nursery.cancel_scope.cancel()
