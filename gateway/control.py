"""What the controller and its workers say to each other, and how it goes over their Unix socket.

A message is a 4-byte length, a 1-byte count of file descriptors, and msgpack. Descriptors (listening sockets) travel
as SCM_RIGHTS with the message's first bytes. Both ends belong to one user and live in a 0700 directory; still, a
malformed message ends the connection and nothing else.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import trio

from gateway.snapshot import Update

_HEADER = struct.Struct("!IB")
_MESSAGE_LIMIT = 1 << 30
# The kernel passes at most 253 descriptors with one call (SCM_MAX_FD).
DESCRIPTORS_PER_MESSAGE = 200


class ListenerSpec(msgspec.Struct, frozen=True):
    """A listening socket that the controller opened for its workers.

    `kind`: mesh, http, vip, dns-udp, dns-tcp. A virtual IP's listener has the service's key and port name.
    """

    name: str
    kind: str
    address: str
    service: str = ""
    port: str = ""


class Listen(msgspec.Struct, tag="listen"):
    """Controller to worker: serve these sockets; as many descriptors come along, in the same order."""

    listeners: list[ListenerSpec]


class Unlisten(msgspec.Struct, tag="unlisten"):
    names: list[str]


class Certificate(msgspec.Struct, tag="certificate"):
    """Controller to worker: the chain (DER, leaf first) for the key of the last signing request."""

    chain: list[bytes]


class Drain(msgspec.Struct, tag="drain"):
    """Controller to worker: accept nothing new, finish what runs within `timeout_s`, then exit."""

    timeout_s: float


class Hello(msgspec.Struct, tag="hello"):
    """Worker to controller, first. A worker that outlived its controller brings the sockets that it serves."""

    worker_id: str
    pid: int
    version: str
    listeners: list[ListenerSpec]


class SigningRequest(msgspec.Struct, tag="signing-request"):
    csr: bytes


class Tunnel(msgspec.Struct, frozen=True):
    """A worker's view of its tunnels to one gateway of a peer."""

    cluster: str
    gateway: str
    address: str = ""
    ready: int = 0
    wanted: int = 0
    peer_id: str = ""
    rtt_ms: float = 0.0
    error: str = ""


class Report(msgspec.Struct, tag="report"):
    """Worker to controller, every second and when a tunnel changes: everything counted since the worker began."""

    tunnels: list[Tunnel]
    counters: dict[str, dict[str, float]]
    """Metric name to label values (joined by "|") to count."""
    durations: dict[str, list[float]] = {}
    """Service to the counts of its duration buckets, then the sum in seconds."""
    inbound: dict[str, int] = {}
    """Peer cluster to the number of its connections that are open here."""
    refusals: dict[str, str] = {}
    """The last refusal of each kind, for people: "mesh: no-certificate" to what was seen, when and from where."""
    ready: bool = False
    """Whether it has an SVID and a snapshot: it can serve."""


ToWorker: TypeAlias = Update | Listen | Unlisten | Certificate | Drain
ToController: TypeAlias = Hello | SigningRequest | Report
Message: TypeAlias = ToWorker | ToController

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class ChannelClosed(Exception):
    """The other side is gone, or said something that is not a message."""


class ControlChannel:
    """One side of the controller-worker connection. One task may send while another receives."""

    def __init__(self, stream: trio.socket.SocketType) -> None:
        self._socket = stream
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()
        self._send_lock = trio.Lock()

    async def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Raises ChannelClosed."""
        body = _encode(message)
        rest = memoryview(_HEADER.pack(len(body), len(descriptors)) + body)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        async with self._send_lock:
            try:
                while rest:
                    rest = rest[await self._socket.sendmsg([rest], ancillary) :]
                    ancillary = []
            except (OSError, trio.ClosedResourceError) as error:
                raise ChannelClosed(str(error)) from error

    async def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors, which the caller owns from then on. Raises ChannelClosed."""
        while True:
            message = self._next()
            if message is not None:
                return message
            try:
                data, ancillary, _, _ = await self._socket.recvmsg(1 << 18, socket.CMSG_SPACE(253 * 4))
            except (OSError, trio.ClosedResourceError) as error:
                raise ChannelClosed(str(error)) from error
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    received = array.array("i")
                    received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                    self._descriptors.extend(received)
            if not data:
                raise ChannelClosed("the other side closed the connection")
            self._buffer += data

    def _next(self) -> tuple[Message, list[int]] | None:
        if len(self._buffer) < _HEADER.size:
            return None
        length, descriptor_count = _HEADER.unpack_from(self._buffer)
        if length > _MESSAGE_LIMIT:
            raise ChannelClosed(f"a message of {length} bytes was announced")
        end = _HEADER.size + length
        if len(self._buffer) < end or len(self._descriptors) < descriptor_count:
            return None
        try:
            message: Message = _decode(memoryview(self._buffer)[_HEADER.size : end])
        except msgspec.MsgspecError as error:
            raise ChannelClosed(f"not a message: {error}") from error
        del self._buffer[:end]
        return message, [self._descriptors.popleft() for _ in range(descriptor_count)]

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._socket.close()
