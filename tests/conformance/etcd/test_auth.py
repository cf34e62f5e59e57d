"""Names, passwords, tokens and permissions at a real etcd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from federation.etcd import EtcdConfig, EtcdError, open_etcd
from tests.etcd_server import EtcdServer, run_etcd

PASSWORD = "correct horse"
ROOT = "root:root"


@pytest.fixture(scope="module")
def auth_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """An etcd with authentication on: user `east` may use /east/ only. Tokens live for 1 s."""
    arguments = ("--auth-token-ttl=1", "--bcrypt-cost=4")
    with run_etcd(tmp_path_factory.mktemp("auth") / "etcd", arguments=arguments) as server:
        server.ctl("user", "add", ROOT)
        server.ctl("user", "grant-role", "root", "root")
        server.ctl("role", "add", "east")
        server.ctl("role", "grant-permission", "east", "--prefix=true", "readwrite", "/east/")
        server.ctl("user", "add", f"east:{PASSWORD}")
        server.ctl("user", "grant-role", "east", "east")
        server.ctl("auth", "enable")
        yield server


def config(server: EtcdServer, *, username: str = "east", password: str = PASSWORD) -> EtcdConfig:
    return EtcdConfig(endpoints=(server.endpoint,), username=username, password=password)


async def test_a_name_and_password_open_what_the_role_grants(auth_server: EtcdServer) -> None:
    """One authentication serves every call, however many wait for it."""
    async with open_etcd(config(auth_server)) as client:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(client.put, b"/east/%d" % number, b"")
        assert len((await client.read_prefix(b"/east/")).kvs) == 8
        assert client.statistics().authentications == 1


async def test_a_wrong_password_is_one_clear_error(auth_server: EtcdServer) -> None:
    """It must name the setting, not show the password, and not hammer the server with attempts."""
    async with open_etcd(config(auth_server, password="wrong horse")) as client:
        with trio.fail_after(20), pytest.raises(EtcdError, match="password_file") as caught:
            await client.get(b"/east/a")
        assert caught.value.code == "unauthenticated"
        assert "'east'" in str(caught.value)
        assert "wrong horse" not in str(caught.value)
        assert client.statistics().authentications == 1
        async with client.watch(b"/east/", start_revision=1) as watch:
            with trio.fail_after(20), pytest.raises(EtcdError) as caught:
                await watch.__anext__()
        assert caught.value.code == "unauthenticated"


async def test_no_name_at_all_is_told_apart(auth_server: EtcdServer) -> None:
    """etcd says "user name is empty", which helps nobody."""
    async with open_etcd(EtcdConfig(endpoints=(auth_server.endpoint,))) as client:
        with pytest.raises(EtcdError, match=r"set etcd\.username") as caught:
            await client.get(b"/east/a")
        assert caught.value.code == "unauthenticated"


async def test_no_permission_is_an_error_and_never_a_hang(auth_server: EtcdServer) -> None:
    """On a read, a write, a transaction and, where other clients wait for ever, on a watch."""
    async with open_etcd(config(auth_server)) as client:
        with trio.fail_after(20):
            with pytest.raises(EtcdError) as read:
                await client.read_prefix(b"/west/")
            with pytest.raises(EtcdError) as write:
                await client.put(b"/west/a", b"")
            async with client.watch(b"/west/", start_revision=1) as watch:
                with pytest.raises(EtcdError, match="grant") as watched:
                    await watch.__anext__()
        assert [caught.value.code for caught in (read, write, watched)] == ["permission_denied"] * 3
        assert client.statistics().open_streams == 0


async def test_an_expired_token_is_replaced_once_and_nobody_notices(auth_server: EtcdServer) -> None:
    """Tokens expire after 300 s (here 1 s), in calls and when a watch begins."""
    async with open_etcd(config(auth_server)) as caller, open_etcd(config(auth_server)) as watcher:
        revision = await caller.put(b"/east/token", b"1")
        await watcher.get(b"/east/token")
        await trio.sleep(2.2)
        await caller.put(b"/east/token", b"2")
        async with watcher.watch(b"/east/token", start_revision=revision) as watch:
            with trio.fail_after(20):
                batch = await watch.__anext__()
        assert [event.kv.value for event in batch.events] == [b"1", b"2"]
        assert caller.statistics().authentications == 2
        assert watcher.statistics().authentications == 2


async def test_a_password_for_an_etcd_without_authentication_is_no_error(shared_etcd: EtcdServer) -> None:
    """Operators turn authentication on after clients are configured, not before."""
    async with open_etcd(config(shared_etcd)) as client:
        await client.get(b"/east/a")
        await client.get(b"/east/a")
        assert client.statistics().authentications == 1
