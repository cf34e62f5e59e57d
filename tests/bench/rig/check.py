"""Looks once whether a pair of gateways does what is about to be measured: h2load does not see a gRPC status."""

from __future__ import annotations

import socket

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.bench.rig.contender import AUTHORITIES, BenchError, Contender, Entrance

_TIMEOUT_S = 10.0
GRPC_PATH = "/bench.Echo/Unary"
GRPC_BODY = b"\0\0\0\0\x05hello"
GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}


def check_grpc(contender: Contender) -> None:
    """One unary call. Raises BenchError unless a message and `grpc-status: 0` come back."""
    seen = b""
    fields: dict[str, str] = {}
    try:
        with socket.create_connection(contender.entrances[Entrance.GRPC], timeout=_TIMEOUT_S) as sock:
            for event in _call(sock, AUTHORITIES[Entrance.GRPC]):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    fields.update((str(name), str(value)) for name, value in event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    seen += event.data
    except (OSError, h2.exceptions.ProtocolError) as error:
        raise BenchError(f"a gRPC call through {contender.name} failed: {error}") from error
    if fields.get("grpc-status") != "0" or len(seen) != 5 + int.from_bytes(seen[1:5], "big"):
        raise BenchError(f"a gRPC call through {contender.name} came back as {fields} and {len(seen)} bytes")


def _call(sock: socket.socket, authority: str) -> list[h2.events.Event]:
    """Every event until the stream has ended."""
    http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    http2.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":authority", authority), (":path", GRPC_PATH)]
    http2.send_headers(1, [*head, *GRPC_HEADERS.items()])
    http2.send_data(1, GRPC_BODY, end_stream=True)
    events: list[h2.events.Event] = []
    while not any(isinstance(event, h2.events.StreamEnded | h2.events.StreamReset) for event in events):
        sock.sendall(http2.data_to_send())
        data = sock.recv(65_536)
        if not data:
            raise OSError("the connection ended before the answer did")
        events += http2.receive_data(data)
    return events
