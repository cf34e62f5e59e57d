"""What the controller and its workers say to each other, and how it goes over their Unix socket.

A message is a 4-byte length, a 1-byte count of file descriptors, and msgpack. Descriptors (listening sockets) travel
as SCM_RIGHTS with the message's first bytes. Both ends belong to one user and live in a 0700 directory; still, a
malformed message ends the connection and nothing else, and leaves no descriptor behind.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec
import trio

from gateway.failover.events import FailoverEvent
from gateway.failover.explanation import Explanation
from gateway.snapshot import Update

_HEADER = struct.Struct("!IB")
# A whole snapshot is one message; ten thousand services are a few megabytes.
MESSAGE_LIMIT_BYTES = 1 << 28
# The kernel passes at most 253 descriptors with one call (SCM_MAX_FD).
DESCRIPTORS_PER_MESSAGE = 200
_KERNEL_DESCRIPTORS = 253


class ListenerSpec(msgspec.Struct, frozen=True, gc=False):
    """A listening socket that the controller opened for its workers.

    `kind`: mesh, http, vip, dns-udp, dns-tcp. A virtual IP's listener has the service's key and port name.
    """

    name: str
    kind: str
    address: str
    service: str = ""
    port: str = ""


class Listen(msgspec.Struct, tag="listen"):
    """Serve these sockets; as many descriptors come along, in the same order.

    Also worker to controller, before its `Hello`: the sockets that it serves since before this controller began.
    """

    listeners: list[ListenerSpec]


class Unlisten(msgspec.Struct, tag="unlisten"):
    names: list[str]


class Certificate(msgspec.Struct, tag="certificate"):
    """Controller to worker: the chain (DER, leaf first) for the key of the last signing request; with `key` (PKCS #8,
    DER) for that one, which a SPIFFE Workload API has made. The socket belongs to this user alone."""

    chain: list[bytes]
    key: bytes = b""

    def __repr__(self) -> str:
        return f"<Certificate: {len(self.chain)} certificates{', a key, redacted' if self.key else ''}>"


class Renew(msgspec.Struct, tag="renew"):
    """Controller to worker: ask for another certificate now; the one that you have may be refused soon."""


class Drain(msgspec.Struct, tag="drain"):
    """Controller to worker: accept nothing new, finish what runs within `timeout_s`, then exit."""

    timeout_s: float


class Explain(msgspec.Struct, tag="explain"):
    """Controller to worker: say where a service's requests go, and why."""

    request_id: int
    service: str
    """`<namespace>/<name>`"""
    port: str = ""
    """Its name; empty for the first."""
    from_cluster: str = ""
    """The peer whose requests are asked about; empty for those of workloads here."""


class Explained(msgspec.Struct, tag="explained"):
    """Worker to controller. None: it knows no such service or port, or that peer may not ask for it."""

    request_id: int
    explanation: Explanation | None = None


class Hello(msgspec.Struct, tag="hello"):
    """Worker to controller, when it has shown the sockets that it serves already."""

    worker_id: str
    pid: int
    version: str


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
    serials: tuple[str, ...] = ()
    """Of the certificates at the other end of those that are ready."""


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
    events: list[FailoverEvent] = []
    """What happened since the last report. Each is sent once, and a bounded number of them a second."""


ToWorker: TypeAlias = Update | Listen | Unlisten | Certificate | Renew | Drain | Explain
ToController: TypeAlias = Listen | Hello | SigningRequest | Report | Explained
Message: TypeAlias = ToWorker | ToController

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class ChannelClosed(Exception):
    """The other side is gone, or said something that is not a message."""


def listen_messages(
    entries: Sequence[tuple[ListenerSpec, socket.socket]],
) -> Iterator[tuple[Listen, list[socket.socket]]]:
    """Any number of sockets, as messages with no more of them than the kernel passes at once."""
    for start in range(0, len(entries), DESCRIPTORS_PER_MESSAGE):
        chunk = entries[start : start + DESCRIPTORS_PER_MESSAGE]
        yield Listen([spec for spec, _ in chunk]), [sock for _, sock in chunk]


class ControlChannel:
    """One side of the controller-worker connection. One task may send while another receives."""

    def __init__(self, stream: trio.socket.SocketType) -> None:
        self._socket = stream
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()
        self._send_lock = trio.Lock()

    @property
    def peer_pid(self) -> int:
        """The process at the other end, as the kernel knows it (unix(7), SO_PEERCRED)."""
        size = struct.calcsize("3i")
        return int(struct.unpack("3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0])

    async def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Sends a message with at most `DESCRIPTORS_PER_MESSAGE` descriptors, which stay the caller's and must stay
        open meanwhile. Raises ChannelClosed."""
        if len(descriptors) > DESCRIPTORS_PER_MESSAGE:
            raise ValueError(f"{len(descriptors)} descriptors in one message; see listen_messages")
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
        """The next message and its descriptors, which the caller owns from then on: as many as a `Listen` names, and
        none with any other message. Raises ChannelClosed."""
        while True:
            message = self._next()
            if message is not None:
                return message
            if self._descriptors and not self._buffer:
                raise ChannelClosed("descriptors came that no message announced")
            await self._read()

    async def _read(self) -> None:
        room = socket.CMSG_SPACE(_KERNEL_DESCRIPTORS * 4)
        try:
            data, ancillary, flags, _ = await self._socket.recvmsg(1 << 18, room, socket.MSG_CMSG_CLOEXEC)
        except (OSError, trio.ClosedResourceError) as error:
            raise ChannelClosed(str(error)) from error
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self._descriptors.extend(received)
        if flags & socket.MSG_CTRUNC:
            raise ChannelClosed("descriptors were lost on the way: raise the limit of open files")
        if not data:
            raise ChannelClosed("the other side closed the connection")
        self._buffer += data

    def _next(self) -> tuple[Message, list[int]] | None:
        if len(self._buffer) < _HEADER.size:
            return None
        length, descriptor_count = _HEADER.unpack_from(self._buffer)
        if length > MESSAGE_LIMIT_BYTES:
            raise ChannelClosed(f"a message of {length} bytes was announced")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        try:
            message: Message = _decode(memoryview(self._buffer)[_HEADER.size : end])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ChannelClosed(f"not a message: {error}") from error
        expected = len(message.listeners) if isinstance(message, Listen) else 0
        # They come with the first bytes of their message, so all are here by now.
        if descriptor_count != expected or len(self._descriptors) < expected:
            raise ChannelClosed(f"{descriptor_count} descriptors with a message that has {expected}")
        del self._buffer[:end]
        return message, [self._descriptors.popleft() for _ in range(expected)]

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._socket.close()
