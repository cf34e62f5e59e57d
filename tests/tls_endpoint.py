"""Servers that speak TLS as a local service's endpoint does, with certificates of a CA made for the test."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import trustme

Serve = Callable[[ssl.SSLSocket], None]
LOOK_UP_S = 0.05
"""How often a server looks whether it shall end."""
NAME = "payments.shop.svc.clusterset.local"


def roots_of(*authorities: trustme.CA) -> tuple[bytes, ...]:
    return tuple(ssl.PEM_cert_to_DER_cert(ca.cert_pem.bytes().decode()) for ca in authorities)


def server_context(ca: trustme.CA, *names: str, alpn: Sequence[str] = (), clients: bytes = b"") -> ssl.SSLContext:
    """For a server with a certificate for `names`. `clients` is the root (DER) that must have signed a client's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*(names or (NAME,))).configure_cert(context)
    if alpn:
        context.set_alpn_protocols([*alpn])
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients)
    return context


class TlsEndpoint:
    """Accepts on loopback in a thread of its own, and serves each connection in another."""

    def __init__(self, context: ssl.SSLContext, serve: Serve) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.failures: list[str] = []
        self.accepted = 0
        self._listener.settimeout(LOOK_UP_S)
        self._closing = False
        self._context = context
        self._serve = serve
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.accepted += 1
            threading.Thread(target=self._shake_and_serve, args=(sock,), daemon=True).start()

    def _shake_and_serve(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        try:
            with self._context.wrap_socket(sock, server_side=True) as tls:
                self._serve(tls)
        except OSError as error:
            self.failures.append(str(getattr(error, "reason", "") or error))

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._listener.close()


@contextmanager
def tls_endpoint(context: ssl.SSLContext, serve: Serve) -> Iterator[TlsEndpoint]:
    endpoint = TlsEndpoint(context, serve)
    try:
        yield endpoint
    finally:
        endpoint.close()


def answer_http1(tls: ssl.SSLSocket) -> None:
    """Answers each request with its first line, and with the client's SPIFFE ID if it has one."""
    received = b""
    while data := tls.recv(65_536):
        received += data
        while b"\r\n\r\n" in received:
            head, _, received = received.partition(b"\r\n\r\n")
            body = head.splitlines()[0] + b" " + client_of(tls).encode()
            tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


def answer_http2(tls: ssl.SSLSocket) -> None:
    """The same in HTTP/2, with trailers as gRPC has them."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    tls.sendall(connection.data_to_send())
    while data := tls.recv(65_536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                fields = dict(event.headers or ())
                assert event.stream_id is not None
                connection.send_headers(event.stream_id, [(":status", "200")])
                body = b"%b %b %b" % (fields[b":method"], fields[b":scheme"], client_of(tls).encode())
                connection.send_data(event.stream_id, body)
                connection.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
        tls.sendall(connection.data_to_send())


def client_of(tls: ssl.SSLSocket) -> str:
    """The client's SPIFFE ID."""
    names: Any = (tls.getpeercert() or {}).get("subjectAltName", ())
    return next((value for kind, value in names if kind == "URI"), "nobody")
