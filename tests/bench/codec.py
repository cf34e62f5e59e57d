"""What one small exchange costs in the HTTP/2 codecs, both sides in memory.

A GET with six fields, answered by a head and 64 bytes. The bare engine is the floor: the difference is what our
bookkeeping and our events cost.
"""

from __future__ import annotations

import argparse
import json
import time

import ngh2

from gateway.codec.events import RequestHead, ResponseHead
from gateway.codec.http2.engine import available_engines, http2_codec
from gateway.codec.interface import Codec
from gateway.codec.limits import CodecLimits

FIELDS = [(b"user-agent", b"bench/1"), (b"accept", b"*/*"), (b"x-request-id", b"0123456789abcdef")]
REQUEST = RequestHead(b"GET", b"http", b"payments.shop.svc.clusterset.local", b"/", FIELDS)
BLOCK = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", REQUEST.authority), (b":path", b"/"), *FIELDS]
RESPONSE = ResponseHead(200, [(b"content-type", b"text/plain"), (b"content-length", b"64")])
BODY = b"x" * 64
RUNS = 5


def exchange(client: Codec, server: Codec) -> None:
    """One request and its response."""
    stream_id = client.send_request(REQUEST, True)
    server.receive(client.data_to_send())
    server.send_response(stream_id, RESPONSE, False)
    server.send_data(stream_id, BODY, True)
    client.receive(server.data_to_send())
    client.consumed(stream_id, len(BODY))


def bare_exchange(client: ngh2.Connection, server: ngh2.Connection) -> None:
    """The same on bare ngh2."""
    stream_id = client.send_request(BLOCK, end_stream=True)
    server.receive_data(client.data_to_send())
    server.events()
    server.send_response(stream_id, [(b":status", b"200"), *RESPONSE.headers])
    server.send_data(stream_id, BODY, end_stream=True)
    client.receive_data(server.data_to_send())
    client.events()


def measure_bare(rounds: int) -> float:
    client, server = ngh2.Connection(ngh2.Role.CLIENT), ngh2.Connection(ngh2.Role.SERVER)
    client.initiate_connection()
    server.initiate_connection()
    for _ in range(3):
        server.receive_data(client.data_to_send())
        client.receive_data(server.data_to_send())
    start = time.perf_counter()
    for _ in range(rounds):
        bare_exchange(client, server)
    return (time.perf_counter() - start) / rounds * 1e6


def measure(kind: str, rounds: int) -> float:
    """Microseconds an exchange."""
    limits = CodecLimits()
    client = http2_codec(kind, client=True, limits=limits)
    server = http2_codec(kind, client=False, limits=limits)
    for _ in range(3):
        server.receive(client.data_to_send())
        client.receive(server.data_to_send())
    for _ in range(rounds // 10):
        exchange(client, server)
    start = time.perf_counter()
    for _ in range(rounds):
        exchange(client, server)
    return (time.perf_counter() - start) / rounds * 1e6


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench codec", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5_000, help="exchanges in each of five runs; the best counts")
    arguments = parser.parse_args(argv)
    rounds = arguments.rounds
    results = {"bare ngh2": min(measure_bare(rounds) for _ in range(RUNS))}
    for kind in available_engines():
        # h2 costs ten times as much, and needs no more precision for it.
        count = rounds if kind == "ngh2" else rounds // 10
        results[kind] = min(measure(kind, count) for _ in range(RUNS))
    if arguments.json:
        print(json.dumps(results))
    else:
        for name, cost_us in results.items():
            print(f"{name:<10} {cost_us:7.1f} µs an exchange")
    return 0
