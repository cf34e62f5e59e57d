"""etcd is killed and comes back while a watch is open: every event once, in order."""

from __future__ import annotations

import pytest
import trio

from federation.etcd import EtcdConfig, EtcdError, Watch, open_etcd
from tests.etcd_server import EtcdServer


def code_of(watch: Watch) -> str:
    return watch.interrupted.code if watch.interrupted else ""


async def test_no_event_is_lost_or_repeated(etcd_server: EtcdServer) -> None:
    """The watch goes on by itself after the last batch that was handed over, and says meanwhile what keeps it."""
    expected = [b"%d" % number for number in range(60)]
    seen: list[bytes] = []

    async with open_etcd(EtcdConfig(endpoints=(etcd_server.endpoint,))) as client:
        async with client.watch(b"/w/", start_revision=1) as watch, trio.open_nursery() as nursery:

            async def read() -> None:
                async for batch in watch:
                    seen.extend(event.kv.value for event in batch.events)

            nursery.start_soon(read)
            for value in expected[:30]:
                await client.put(b"/w/a", value)
            await trio.to_thread.run_sync(etcd_server.kill)
            with trio.fail_after(20):
                while code_of(watch) != "unavailable":
                    await trio.sleep(0.01)
            await trio.to_thread.run_sync(etcd_server.start)
            with trio.fail_after(20):
                await client.wait_connected()
                for value in expected[30:]:
                    await client.put(b"/w/a", value)
                while len(seen) < len(expected):
                    await trio.sleep(0.01)
            assert code_of(watch) == ""
            nursery.cancel_scope.cancel()
        assert client.statistics().open_streams == 0
    assert seen == expected


async def test_calls_fail_at_once_while_it_is_down(etcd_server: EtcdServer) -> None:
    """A client opens without a server; its calls say where they tried, and it connects when the server comes."""
    etcd_server.kill()
    async with open_etcd(EtcdConfig(endpoints=(etcd_server.endpoint,))) as client:
        # Less than one of them would take that ended by its deadline.
        with trio.fail_after(4):
            for _ in range(3):
                with pytest.raises(EtcdError, match=r"(?i)refused") as caught:
                    await client.put(b"/a", b"")
                assert caught.value.code == "unavailable"
                assert etcd_server.endpoint in str(caught.value)
        assert not client.connected
        assert "refused" in client.endpoints[0].error.lower()
        await trio.to_thread.run_sync(etcd_server.start)
        with trio.fail_after(20):
            await client.wait_connected()
        await client.put(b"/a", b"")
        assert client.endpoints[0].error == ""
