"""A plain TCP client that sends random bytes to an echo service and compares what comes back."""

from __future__ import annotations

import hashlib
import random
import socket
import threading

import msgspec

TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 18


class EchoResult(msgspec.Struct, frozen=True):
    """What was sent and what came back."""

    sent_bytes: int
    received_bytes: int
    sent_sha256: str
    received_sha256: str

    @property
    def unchanged(self) -> bool:
        return self.sent_sha256 == self.received_sha256

    def __str__(self) -> str:
        return (
            f"{self.sent_bytes:,} bytes there (sha256 {self.sent_sha256[:12]}…), "
            f"{self.received_bytes:,} bytes back (sha256 {self.received_sha256[:12]}…)"
        )


def echo(address: tuple[str, int], size_bytes: int, rng: random.Random) -> EchoResult:
    """Sends `size_bytes` and receives at the same time, until the other side ends. Raises OSError."""
    with socket.create_connection(address, timeout=TIMEOUT_S) as sock:
        sent = hashlib.sha256()
        sender = threading.Thread(target=_send, args=(sock, size_bytes, rng, sent), daemon=True)
        sender.start()
        received, received_bytes = hashlib.sha256(), 0
        while data := sock.recv(_CHUNK_BYTES):
            received.update(data)
            received_bytes += len(data)
        sender.join()
    return EchoResult(size_bytes, received_bytes, sent.hexdigest(), received.hexdigest())


def _send(sock: socket.socket, size_bytes: int, rng: random.Random, digest: hashlib._Hash) -> None:
    # A chunk of random bytes that is turned a little each time: no two are alike, and making them costs nothing.
    chunk = rng.randbytes(_CHUNK_BYTES)
    left = size_bytes
    try:
        while left:
            turn = left % 8191
            data = (chunk[turn:] + chunk[:turn])[:left]
            digest.update(data)
            sock.sendall(data)
            left -= len(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        # The receiver sees the end, and that it came too early.
        return
