"""Opening listening sockets, on loopback and port 0."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import msgspec
import pytest

from gateway.control import ListenerSpec
from gateway.transport.listeners import ListenError, Listeners, _advice
from tests.ports import free_port

HTTP = ListenerSpec("http", "http", "127.0.0.1:0")
UDP = ListenerSpec("dns-udp", "dns-udp", "127.0.0.1:0")
TCP = ListenerSpec("dns-tcp", "dns-tcp", "127.0.0.1:0")


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    listeners = Listeners()
    yield listeners
    listeners.close_all()


def vip(address: str, name: str = "vip/shop/pay/http") -> ListenerSpec:
    return ListenerSpec(name, "vip", address, "service/shop/pay", "http")


def test_any_free_port(listeners: Listeners) -> None:
    """The address says which one it became, and the socket can be connected to."""
    listeners.open(HTTP)
    host, _, port = listeners.address("http").rpartition(":")
    assert host == "127.0.0.1"
    socket.create_connection((host, int(port))).close()
    assert listeners.address("mesh") == ""


def test_opening_twice_is_opening_once(listeners: Listeners) -> None:
    """A reload opens all again."""
    assert listeners.open(HTTP) is listeners.open(HTTP)


def test_another_address_for_a_name_replaces_its_socket(listeners: Listeners) -> None:
    """The old one is closed."""
    old = listeners.open(HTTP)
    listeners.open(ListenerSpec("http", "http", "127.0.0.2:0"))
    assert old.fileno() == -1
    assert listeners.address("http").startswith("127.0.0.2:")


def test_sockets_do_not_block(listeners: Listeners) -> None:
    """They are served by an event loop, in this process or another."""
    for spec in (HTTP, UDP, TCP):
        assert not listeners.open(spec).getblocking()


def test_an_address_that_is_taken(listeners: Listeners) -> None:
    """Names the listener, the address and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        why = "the address is in use; end what uses it, or name another under gateway.http"
        says = f"http cannot listen on {address}: {why}"
        with pytest.raises(ListenError, match=says):
            listeners.open(ListenerSpec("http", "http", address))
    assert not listeners.sockets


def test_a_virtual_ip_that_is_taken(listeners: Listeners) -> None:
    """Two gateways of one machine give a service the same address unless their ranges differ: nobody can name another
    address for a virtual IP, so that is what is said. Status names the listener before it, so it is not said twice."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spec = vip(f"127.0.0.1:{taken.getsockname()[1]}")
        assert not listeners.try_open(spec)
    says = "the address is in use; each gateway of one machine needs a gateway.vip_range of its own"
    assert listeners.problems[spec.name] == f"cannot listen on {spec.address}: {says}"


def test_an_address_of_another_machine(listeners: Listeners) -> None:
    """A virtual IP range that nobody routed here."""
    with pytest.raises(ListenError, match="does not have that address"):
        listeners.open(vip("192.0.2.1:80"))


def test_a_name_that_does_not_resolve(listeners: Listeners, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails like the rest, as what keeps a gateway from starting. No resolver is asked here."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ListenError, match=r"http cannot listen on gw\.test:80: Name or service not known"):
        listeners.open(ListenerSpec("http", "http", "gw.test:80"))


def test_a_privileged_port() -> None:
    """Root may bind it, and tests may run as root: only the words are tested."""
    for number in (errno.EACCES, errno.EPERM):
        assert "CAP_NET_BIND_SERVICE" in _advice(OSError(number, "no"), "dns-udp", 53)
    assert _advice(OSError(errno.EACCES, "no"), "http", 8080) == "no"


def test_dns_has_one_port(listeners: Listeners) -> None:
    """Clients that got a truncated answer ask the same port over TCP."""
    listeners.open_dns(UDP, TCP)
    assert listeners.address("dns-udp") == listeners.address("dns-tcp")
    before = dict(listeners.sockets)
    listeners.open_dns(UDP, TCP)
    assert listeners.sockets == before, "a second call, as after adopting them, changes nothing"


@pytest.mark.stand_in
def test_dns_finds_a_port_that_is_free_for_both(listeners: Listeners, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that UDP gets may be taken for TCP: then another is tried, and nothing is left of the first."""
    taken: list[socket.socket] = []
    first = listeners.open

    def open_and_take(spec: ListenerSpec) -> socket.socket:
        if taken:
            return first(spec)
        taken.append(socket.create_server(("127.0.0.1", free_port())))
        return first(msgspec.structs.replace(spec, address=f"127.0.0.1:{taken[0].getsockname()[1]}"))

    monkeypatch.setattr(listeners, "open", open_and_take)
    listeners.open_dns(UDP, TCP)
    assert listeners.address("dns-udp") == listeners.address("dns-tcp")
    assert listeners.address("dns-udp") != f"127.0.0.1:{taken[0].getsockname()[1]}"
    taken[0].close()


def test_adopting(listeners: Listeners) -> None:
    """A worker brings what it held; of two that bring the same one copy stays, and it does not block: all who share
    a listening socket share that flag."""
    first, second = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    first.setblocking(True)
    assert listeners.adopt(HTTP, first)
    assert not first.getblocking()
    assert not listeners.adopt(HTTP, second)
    assert second.fileno() == -1
    assert listeners.open(HTTP) is first


def test_one_services_trouble_is_noted_and_tried_again(listeners: Listeners) -> None:
    """An address that another service had is free when the last worker has let go of it."""
    taken = socket.create_server(("127.0.0.1", free_port()))
    spec = vip(f"127.0.0.1:{taken.getsockname()[1]}")
    assert not listeners.try_open(spec)
    assert "in use" in listeners.problems[spec.name]
    assert listeners.retry() == []
    taken.close()
    assert listeners.retry() == [spec.name]
    assert listeners.problems == {}
    assert listeners.retry() == []


def test_what_is_not_wanted_any_more_is_not_tried_again(listeners: Listeners) -> None:
    """Its service is gone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spec = vip(f"127.0.0.1:{taken.getsockname()[1]}")
        listeners.try_open(spec)
        listeners.close(spec.name)
    assert listeners.retry() == []
    assert listeners.problems == {}


def test_what_an_earlier_controller_left(listeners: Listeners) -> None:
    """Only virtual IPs come and go; the other listeners are wanted as long as the gateway runs."""
    kept, gone = vip("127.0.0.1:0", "vip/a/b/http"), vip("127.0.0.1:0", "vip/a/gone/http")
    for spec in (HTTP, kept, gone):
        listeners.open(spec)
    assert listeners.left_over(lambda spec: spec == kept) == [gone.name]


def test_virtual_ips_above_the_limit_wait_for_room(listeners: Listeners) -> None:
    """Connections need files as well. What waits is opened when another closes, and forgotten with its service."""
    listeners.vip_limit = 2
    specs = [vip(f"127.0.0.{number}:0", f"vip/shop/s{number}/http") for number in range(1, 5)]
    assert [listeners.try_open(spec) for spec in specs] == [True, True, False, False]
    assert [*listeners.waiting] == [specs[2].name, specs[3].name]
    assert listeners.problems == {}
    assert listeners.retry() == []
    listeners.close(specs[2].name)
    listeners.close(specs[0].name)
    assert listeners.retry() == [specs[3].name]
    assert listeners.waiting == {}


def test_moving_is_all_or_nothing(listeners: Listeners) -> None:
    """A reload that can't be taken in leaves what is there."""
    mesh = ListenerSpec("mesh", "mesh", "127.0.0.1:0")
    old = {"mesh": listeners.open(mesh), "http": listeners.open(HTTP)}
    elsewhere = ListenerSpec("mesh", "mesh", "127.0.0.2:0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = ListenerSpec("http", "http", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ListenError, match="the address is in use"):
            listeners.move([elsewhere, at])
    assert {name: sock for name, (_, sock) in listeners.sockets.items()} == old
    assert all(sock.fileno() >= 0 for sock in old.values())
    assert listeners.move([elsewhere, HTTP]) == ["mesh"]
    assert listeners.address("mesh").startswith("127.0.0.2:")
    assert old["mesh"].fileno() == -1
    assert listeners.sockets["http"][1] is old["http"]


@pytest.mark.parametrize("hosts", [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "localhost")])
def test_moving_to_an_address_that_overlaps_the_old_one(listeners: Listeners, hosts: tuple[str, str]) -> None:
    """The same port on all addresses, or on one of them: somebody listens at every moment."""
    port = free_port()
    old = listeners.open(ListenerSpec("http", "http", f"{hosts[0]}:{port}"))
    held = old.dup()
    assert listeners.move([ListenerSpec("http", "http", f"{hosts[1]}:{port}")]) == ["http"]
    with held, socket.create_connection(("127.0.0.1", port)):
        pass
    new = listeners.sockets["http"][1]
    assert new.getsockname()[1] == port
    with socket.create_connection(("127.0.0.1", port)):
        new.settimeout(10)
        new.accept()[0].close()


def test_moving_to_where_another_of_ours_listens(listeners: Listeners) -> None:
    """It is refused before anything changes, and both are named: a mistake, or two moves in one."""
    for name in ("mesh", "http"):
        listeners.open(ListenerSpec(name, name, "127.0.0.1:0"))
    mesh, http = listeners.address("mesh"), listeners.address("http")
    port = mesh.rpartition(":")[2]
    for wanted in (mesh, f"0.0.0.0:{port}"):
        says = f"http cannot listen on {wanted}: mesh of this gateway listens on {mesh}"
        with pytest.raises(ListenError, match=says):
            listeners.move([ListenerSpec("mesh", "mesh", "127.0.0.1:0"), ListenerSpec("http", "http", wanted)])
    assert (listeners.address("mesh"), listeners.address("http")) == (mesh, http)


def test_moving_to_where_somebody_else_listens(listeners: Listeners) -> None:
    """On the port that is ours at another address: sharing is between our own sockets."""
    port = free_port()
    old = listeners.open(ListenerSpec("http", "http", f"127.0.0.1:{port}"))
    with socket.create_server(("127.0.0.2", port)), pytest.raises(ListenError, match="the address is in use"):
        listeners.move([ListenerSpec("http", "http", f"127.0.0.2:{port}")])
    assert listeners.sockets["http"][1] is old
