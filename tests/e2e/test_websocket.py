"""A WebSocket between clusters: HTTP/1.1 at both ends, an extended CONNECT between the gateways (RFC 8441)."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator

import pytest

from gateway.demo.dns_client import DnsQuestion
from gateway.demo.lab import Lab
from gateway.demo.members import name_of
from gateway.demo.waiting import wait_until
from tests.lab_clients import address_of

pytestmark = pytest.mark.processes

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_for(key: bytes) -> bytes:
    """RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def read_head(sock: socket.socket) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """A message's first line, its fields, and what has come after them."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = sock.recv(4096)
        assert chunk, data
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = (line.partition(b":") for line in lines)
    return first, {name.lower(): value.strip() for name, _, value in fields}, rest


@pytest.fixture
def chat_port() -> Iterator[int]:
    """A server that accepts WebSockets and sends back every byte after the handshake."""

    def serve(sock: socket.socket) -> None:
        with sock:
            first, fields, rest = read_head(sock)
            if first.startswith(b"GET /healthz") or b"sec-websocket-key" not in fields:
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            accept = accept_for(fields[b"sec-websocket-key"])
            sock.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                b"sec-websocket-accept: " + accept + b"\r\n\r\n" + rest
            )
            while data := sock.recv(65_536):
                sock.sendall(data)

    def accept_all() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept_all, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def chat(lab: Lab, chat_port: int) -> Iterator[None]:
    """West exports the server as shop/chat, while the test runs."""
    west = lab["west"]
    good = west.config_path.read_text()
    question = DnsQuestion(name_of("chat"), lab["east"].addresses.dns)
    west.config_path.write_text(f"""{good}\
- namespace: shop
  name: chat
  ports: [{{name: http, port: {lab.numbers.client_ports["http"]}, protocol: http}}]
  endpoints: [{{address: 127.0.0.1, port: {chat_port}}}]
  health: {{http: /healthz, interval: 200ms}}
  export: {{to: [east]}}
""")
    try:
        wait_until(lambda: question.ask().records, "east hears of chat")
        wait_until(
            lambda: any(share.healthy for share in lab["east"].services()["shop/chat"].clusters), "chat is healthy"
        )
        yield
    finally:
        west.config_path.write_text(good)
    wait_until(lambda: question.ask().rcode == "NXDOMAIN", "east forgets chat")


@pytest.mark.usefixtures("chat")
def test_frames_pass_both_ways(lab: Lab) -> None:
    """The handshake proves itself to the client with the client's own key, and every byte after it comes back."""
    key = base64.b64encode(b"sixteen bytes ok")
    with socket.create_connection(address_of(lab["east"].addresses.http), timeout=30) as sock:
        sock.sendall(
            b"GET /room HTTP/1.1\r\nhost: "
            + lab.authority("chat").encode()
            + b"\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: "
            + key
            + b"\r\n\r\n"
        )
        first, fields, rest = read_head(sock)
        assert first.startswith(b"HTTP/1.1 101")
        assert fields[b"sec-websocket-accept"] == accept_for(key)
        for message in (b"\x81\x05hello", b"\x82\x7e\xff\xff" + b"x" * 65_535, b"\x89\x00"):
            sock.sendall(message)
            while len(rest) < len(message):
                rest += sock.recv(65_536)
            assert rest == message
            rest = b""
