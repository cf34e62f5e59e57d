"""Whatever a server sends, the connection ends or goes on: nothing is raised past it."""

from __future__ import annotations

import h2.config
import h2.connection
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.etcd.errors import RpcError
from federation.etcd.framing import encode_message
from federation.etcd.grpc import GrpcConnection
from tests.unit.federation.etcd.grpc_peer import HEAD


def answer() -> bytes:
    """A well-formed answer to a first call, as a server's bytes."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server.initiate_connection()
    client.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
    server.receive_data(client.data_to_send())
    server.send_headers(1, HEAD)
    server.send_data(1, encode_message(b"answer"))
    server.send_headers(1, [(b"grpc-status", b"0")], end_stream=True)
    server.ping(b"12345678")
    server.close_connection()
    return server.data_to_send()


async def offer(wire: bytes) -> None:
    client_side, server_side = trio.testing.memory_stream_pair()
    connection = GrpcConnection(client_side, authority="etcd.test:2379", scheme="http")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        try:
            with trio.move_on_after(30), connection.open_stream("/s/m", ()) as stream:
                stream.send(b"question", end=True)
                await trio.testing.wait_all_tasks_blocked()
                await server_side.send_all(wire)
                await server_side.send_eof()
                while await stream.receive() is not None:
                    pass
        except RpcError:
            pass
        connection.close("the test is over")


@given(st.data())
@settings(max_examples=150)
def test_a_damaged_answer_ends_the_call_and_raises_nothing_else(data: st.DataObject) -> None:
    """Bytes changed, dropped and put in at random places of an answer that would be right."""
    wire = bytearray(answer())
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    trio.run(offer, bytes(wire), clock=trio.testing.MockClock(autojump_threshold=0))
