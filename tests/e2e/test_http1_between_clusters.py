"""What HTTP/1.1 asks of its next hop and means for the far end, between clusters: upgrades, and leave to send a body.

HTTP/1.1 is spoken at both ends, HTTP/2 between the gateways, where an upgrade is an extended CONNECT (RFC 8441).
"""

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


def serve(sock: socket.socket) -> None:
    """Takes the last of the protocols that it is offered, and sends back every byte after the handshake, with a word of
    its own when the other side has ended. `ignored` it does not know, and says so in a page. It asks for a body that
    waits to be asked for."""
    with sock:
        while True:
            first, fields, rest = read_head(sock)
            offered = fields.get(b"upgrade", b"ignored")
            if offered != b"ignored":
                break
            if b"expect" in fields:
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                while len(rest) < int(fields[b"content-length"]):
                    rest += sock.recv(65_536)
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage")
        key = fields.get(b"sec-websocket-key")
        proof = b"sec-websocket-accept: " + accept_for(key) + b"\r\n" if key else b""
        sock.sendall(
            b"HTTP/1.1 101 UPGRADED\r\nupgrade: %b\r\nconnection: upgrade\r\nasked: %b; %b\r\n%b\r\n%b"
            % (offered.split(b", ")[-1], first.split(b" ")[0], offered, proof, rest)
        )
        while data := sock.recv(65_536):
            sock.sendall(data)
        sock.sendall(b"goodbye")


def serve_quietly(sock: socket.socket) -> None:
    """A client, or a health check, may leave when it likes."""
    try:
        serve(sock)
    except (OSError, AssertionError):
        sock.close()


@pytest.fixture
def chat_port() -> Iterator[int]:
    def accept_all() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve_quietly, args=(sock,), daemon=True).start()

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


def connect(lab: Lab) -> socket.socket:
    return socket.create_connection(address_of(lab["east"].addresses.http), timeout=30)


def ask(lab: Lab, sock: socket.socket, method: bytes, upgrade: bytes, extra: bytes = b"") -> None:
    """Sends a request for an upgrade."""
    host = lab.authority("chat").encode()
    sock.sendall(
        b"%b /room HTTP/1.1\r\nhost: %b\r\nupgrade: %b\r\nconnection: Upgrade\r\n%b\r\n"
        % (method, host, upgrade, extra)
    )


@pytest.mark.usefixtures("chat")
def test_a_websockets_frames_pass_both_ways(lab: Lab) -> None:
    """The handshake proves itself to the client with the client's own key, and every byte after it comes back."""
    key = base64.b64encode(b"sixteen bytes ok")
    with connect(lab) as sock:
        ask(lab, sock, b"GET", b"websocket", b"sec-websocket-version: 13\r\nsec-websocket-key: %b\r\n" % key)
        first, fields, rest = read_head(sock)
        assert first.startswith(b"HTTP/1.1 101")
        assert fields[b"sec-websocket-accept"] == accept_for(key)
        for message in (b"\x81\x05hello", b"\x82\x7e\xff\xff" + b"x" * 65_535, b"\x89\x00"):
            sock.sendall(message)
            while len(rest) < len(message):
                rest += sock.recv(65_536)
            assert rest == message
            rest = b""


@pytest.mark.usefixtures("chat")
def test_any_protocol_crosses(lab: Lab) -> None:
    """As container engines hijack, as kubectl asks for a shell, and with a choice: the endpoint is asked with the same
    method and tokens, its own fields come back, then bytes, and each side ends by itself. Before that, the connection
    was answered as any other, since the endpoint did not know what was asked for first."""
    for method, upgrade, extra, chosen in (
        (b"POST", b"tcp", b"content-length: 0\r\n", b"tcp"),
        (b"POST", b"SPDY/3.1", b"", b"SPDY/3.1"),
        (b"GET", b"h2c, foo/2, bar", b"", b"bar"),
    ):
        with connect(lab) as sock:
            ask(lab, sock, method, b"ignored", extra)
            first, fields, page = read_head(sock)
            while len(page) < len(b"page"):
                page += sock.recv(4096)
            assert (first, page) == (b"HTTP/1.1 200 OK", b"page")
            ask(lab, sock, method, upgrade, extra)
            first, fields, rest = read_head(sock)
            assert first == b"HTTP/1.1 101 Switching Protocols"
            assert (fields[b"connection"], fields[b"upgrade"]) == (b"upgrade", chosen)
            assert fields[b"asked"] == method + b"; " + upgrade.removeprefix(b"h2c, ")
            sock.sendall(bytes(range(256)) * 1_000)
            sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(65_536):
                rest += data
            assert rest == bytes(range(256)) * 1_000 + b"goodbye"


@pytest.mark.usefixtures("chat")
def test_a_body_is_asked_for_by_its_endpoint(lab: Lab) -> None:
    """RFC 9110 section 10.1.1: it sees that the client waits, and what it says lets the client go on."""
    with connect(lab) as sock:
        sock.sendall(
            b"PUT /room HTTP/1.1\r\nhost: %b\r\ncontent-length: 300000\r\nexpect: 100-continue\r\n\r\n"
            % lab.authority("chat").encode()
        )
        assert read_head(sock) == (b"HTTP/1.1 100 Continue", {}, b"")
        sock.sendall(bytes(300_000))
        assert read_head(sock)[0] == b"HTTP/1.1 200 OK"
