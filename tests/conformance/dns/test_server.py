"""The DNS server on real sockets: UDP, TCP, several queries on a connection, rude clients."""

from __future__ import annotations

import shutil
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
import trio

from discovery.dns_message import DnsCounters, Responder
from discovery.dns_server import serve_tcp, serve_udp
from discovery.model import Port, Protocol, ServiceName
from discovery.zone import Zone
from discovery.zone_records import ZoneService

PAYMENTS = ServiceName("shop", "payments")
LEDGER = ServiceName("shop", "ledger")


class Server(NamedTuple):
    port: int
    zone: Zone
    responder: Responder
    udp: socket.socket


def bind(address: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one free port."""
    for _ in range(20):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        tcp, udp = socket.socket(family), socket.socket(family, socket.SOCK_DGRAM)
        tcp.bind((address, 0))
        try:
            udp.bind((address, tcp.getsockname()[1]))
        except OSError:
            tcp.close()
            udp.close()
            continue
        tcp.listen()
        return udp, tcp
    raise AssertionError("no port is free for both UDP and TCP")


@asynccontextmanager
async def server(address: str = "127.0.0.1", **limits: Any) -> AsyncIterator[Server]:
    zone = Zone("acme", [address])
    zone.upsert(ZoneService(PAYMENTS, ("127.80.0.7",), (Port("http", 80, Protocol.HTTP),)))
    many = tuple(Port(f"port-{number}", 1000 + number, Protocol.TCP) for number in range(60))
    zone.upsert(ZoneService(LEDGER, ("127.80.0.8",), many))
    responder = Responder(zone, 5, DnsCounters())
    udp, tcp = bind(address)
    with udp, tcp:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_udp, udp, responder)
            nursery.start_soon(partial(serve_tcp, tcp, responder, **limits))
            yield Server(tcp.getsockname()[1], zone, responder, udp)
            nursery.cancel_scope.cancel()


async def in_thread(ask: Any, *args: Any, **kwargs: Any) -> Any:
    return await trio.to_thread.run_sync(partial(ask, *args, timeout=30, **kwargs))


def framed(*queries: dns.message.Message) -> bytes:
    return b"".join(struct.pack("!H", len(wire)) + wire for wire in (query.to_wire() for query in queries))


async def receive_answer(stream: trio.SocketStream) -> dns.message.Message:
    wire = await receive_exactly(stream, struct.unpack("!H", await receive_exactly(stream, 2))[0])
    return dns.message.from_wire(wire)


async def receive_exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = await stream.receive_some(size - len(data))
        assert chunk, "the server closed the connection"
        data += chunk
    return data


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("ask", [dns.query.udp, dns.query.tcp], ids=["udp", "tcp"])
async def test_another_implementation_resolves(ask: Any, address: str) -> None:
    """dnspython's client checks id, question and source address of what comes back."""
    async with server(address) as running:
        query = dns.message.make_query(PAYMENTS.fqdn, "A")
        answer = await in_thread(ask, query, address, port=running.port)
    assert answer.answer[0][0].to_text() == "127.80.0.7"


async def test_a_truncated_answer_is_whole_over_tcp() -> None:
    """The client's way when TC is set."""
    async with server() as running:
        query = dns.message.make_query(LEDGER.fqdn, "SRV")
        answer, over_tcp = await in_thread(dns.query.udp_with_fallback, query, "127.0.0.1", port=running.port)
    assert over_tcp
    assert len(answer.answer[0]) == 60


@pytest.mark.parametrize("options", [[], ["+tcp"], ["+dnssec", "+bufsize=512"], ["+cookie"], ["+noedns"]])
async def test_dig_resolves(options: list[str]) -> None:
    """What people will paste: dig and its habits (EDNS, cookies), without a warning."""
    dig = shutil.which("dig")
    if dig is None:
        pytest.skip("dig is not installed")
    async with server() as running:
        command = [dig, "@127.0.0.1", "-p", str(running.port), "+tries=1", *options, PAYMENTS.fqdn, "SRV"]
        done = await trio.run_process(command, capture_stdout=True)
    output = done.stdout.decode()
    assert "status: NOERROR" in output
    assert "SRV\t0 100 80 payments.shop.svc.clusterset.local." in output
    warnings = [line for line in output.splitlines() if "WARNING" in line]
    # dig warns of every name below .local, and of servers that do not recurse. Neither is about this answer.
    assert [line for line in warnings if "Multicast DNS" not in line and "recursion" not in line] == []


@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.5"])
async def test_an_answer_leaves_from_the_address_that_was_asked(asked: str) -> None:
    """A socket on all addresses would answer 127.0.0.5's client from 127.0.0.1, and be ignored."""
    async with server("0.0.0.0") as running:
        query = dns.message.make_query(PAYMENTS.fqdn, "A")
        answer = await in_thread(dns.query.udp, query, asked, port=running.port)
    assert answer.rcode() == dns.rcode.NOERROR


async def test_a_query_that_came_before_the_server_did_is_answered_alike() -> None:
    """The controller opens the socket; a worker that starts or restarts finds packets waiting in it."""
    udp, tcp = bind("0.0.0.0")
    query = dns.message.make_query(PAYMENTS.fqdn, "A")
    with udp, tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.5", udp.getsockname()[1]))
        client.settimeout(30)
        client.send(query.to_wire())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_udp, udp, Responder(Zone("acme"), 5, DnsCounters()))
            answer = dns.message.from_wire(await trio.to_thread.run_sync(client.recv, 4096))
            nursery.cancel_scope.cancel()
    assert answer.rcode() == dns.rcode.NXDOMAIN


async def test_an_answer_leaves_from_the_address_that_was_asked_ipv6() -> None:
    """The same on an IPv6 wildcard socket, which takes IPv4 clients, too."""
    async with server("::") as running:
        query = dns.message.make_query(PAYMENTS.fqdn, "A")
        for asked in ("::1", "127.0.0.5"):
            answer = await in_thread(dns.query.udp, query, asked, port=running.port)
            assert answer.rcode() == dns.rcode.NOERROR


async def test_garbage_and_vanished_clients_do_not_stop_udp() -> None:
    """Garbage, an empty datagram, and a client whose port is closed when the answer comes (ICMP: refused)."""
    async with server() as running:
        query = dns.message.make_query(PAYMENTS.fqdn, "A")
        target = ("127.0.0.1", running.port)
        for _ in range(20):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                gone.sendto(query.to_wire(), target)
                gone.sendto(b"", target)
                gone.sendto(b"\xff" * 700, target)
                gone.sendto(b"GET / HTTP/1.1\r\n\r\n", target)
        answer = await in_thread(dns.query.udp, query, "127.0.0.1", port=running.port)
        assert answer.rcode() == dns.rcode.NOERROR
        assert running.responder.counters.malformed > 0


async def test_a_flood_on_udp_leaves_turns_to_others() -> None:
    """A batch is bounded: a TCP client is served while UDP never runs dry."""
    async with server() as running, trio.open_nursery() as nursery:
        query = dns.message.make_query(PAYMENTS.fqdn, "A")
        wire, stopped = query.to_wire(), False

        async def flood() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect(("127.0.0.1", running.port))
                while not stopped:
                    for _ in range(300):
                        client.send(wire)
                    await trio.lowlevel.checkpoint()

        nursery.start_soon(flood)
        answer = await in_thread(dns.query.tcp, query, "127.0.0.1", port=running.port)
        stopped = True
        assert answer.rcode() == dns.rcode.NOERROR


async def test_pipelined_queries_are_all_answered() -> None:
    """RFC 7766 section 6.2.1.1: several queries in one packet, one query in several, and more after a pause."""
    queries = [dns.message.make_query(PAYMENTS.fqdn, "A", id=ident) for ident in range(100)]
    async with server() as running:
        stream = await trio.open_tcp_stream("127.0.0.1", running.port)
        async with stream:
            data = framed(*queries)
            for part in (data[:1], data[1:7], data[7:2000], data[2000:]):
                await stream.send_all(part)
                await trio.sleep(0.01)
            idents = [(await receive_answer(stream)).id for _ in queries]
            await stream.send_all(framed(queries[7]))
            assert (await receive_answer(stream)).id == 7
    assert sorted(idents) == list(range(100))


async def test_tcp_garbage_ends_that_connection_only() -> None:
    """Bytes that are no DNS, empty messages, and a reset in the middle of a query."""
    query = dns.message.make_query(PAYMENTS.fqdn, "A")
    async with server() as running:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0" * 50 + b"\0\3abc", framed(query)[:-5]):
            rude = socket.create_connection(("127.0.0.1", running.port))
            rude.sendall(garbage)
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.close()
        answer = await in_thread(dns.query.tcp, query, "127.0.0.1", port=running.port)
    assert answer.rcode() == dns.rcode.NOERROR


async def test_a_quiet_connection_is_closed_even_while_it_trickles() -> None:
    """Idle is counted from the last whole query: single bytes do not keep a place."""
    async with server(idle_s=0.3) as running:
        with trio.fail_after(20):
            async with await trio.open_tcp_stream("127.0.0.1", running.port) as stream:
                try:
                    while True:
                        await stream.send_all(b"\0")
                        with trio.move_on_after(0.1):
                            if not await stream.receive_some(1):
                                break
                except trio.BrokenResourceError:
                    pass


async def test_a_client_that_never_reads_blocks_nobody() -> None:
    """Its answers fill the buffers; others are served, and it is closed when idle time is over."""
    async with server(idle_s=0.5) as running:
        query = dns.message.make_query(LEDGER.fqdn, "SRV")
        slow = await trio.open_tcp_stream("127.0.0.1", running.port)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        async def push() -> None:
            try:
                while True:
                    await slow.send_all(framed(query) * 50)
            except trio.BrokenResourceError:
                pass

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push)
                for _ in range(3):
                    answer = await in_thread(dns.query.tcp, query, "127.0.0.1", port=running.port)
                    assert answer.rcode() == dns.rcode.NOERROR
        await slow.aclose()


async def test_a_newcomer_takes_the_place_of_the_quietest() -> None:
    """When all places are taken, holding connections open locks nobody out."""
    query = dns.message.make_query(PAYMENTS.fqdn, "A")
    async with server(connections=3) as running:
        streams = []
        for _ in range(3):
            streams.append(await trio.open_tcp_stream("127.0.0.1", running.port))
            await streams[-1].send_all(framed(query))
            await receive_answer(streams[-1])
        await streams[0].send_all(framed(query))
        await receive_answer(streams[0])
        newcomer = await trio.open_tcp_stream("127.0.0.1", running.port)
        with trio.fail_after(20):
            assert await streams[1].receive_some(1) == b"", "the one that has been quiet for longest"
            for stream in (newcomer, streams[0], streams[2]):
                await stream.send_all(framed(query))
                assert (await receive_answer(stream)).rcode() == dns.rcode.NOERROR
        for stream in (*streams, newcomer):
            await stream.aclose()


async def test_a_change_of_the_zone_shows_on_open_connections() -> None:
    """No connection holds on to an older zone."""
    query = dns.message.make_query(PAYMENTS.fqdn, "A")
    async with server() as running, await trio.open_tcp_stream("127.0.0.1", running.port) as stream:
        await stream.send_all(framed(query))
        assert (await receive_answer(stream)).answer[0][0].to_text() == "127.80.0.7"
        running.zone.upsert(ZoneService(PAYMENTS, ("127.80.0.9",), ()))
        await stream.send_all(framed(query))
        assert (await receive_answer(stream)).answer[0][0].to_text() == "127.80.0.9"
        running.zone.remove(PAYMENTS)
        await stream.send_all(framed(query))
        assert (await receive_answer(stream)).rcode() == dns.rcode.NXDOMAIN
