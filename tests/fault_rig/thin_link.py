"""A network between two gateways that carries so many bytes a second and not more, and holds little itself."""

from __future__ import annotations

import select
import socket
import threading
import time
from types import TracebackType

_POLL_S = 0.01
_PIECE_BYTES = 4_096
_BUFFER_BYTES = 16_384
"""Of a socket, in either direction; the kernel takes twice as much. The bytes wait in the gateways, not here."""


class ThinLink:
    """`with ThinLink(listen, target, bytes_per_s)`: forwards until the block ends, in each direction so many bytes a
    second of all connections together, which take turns. `target` is "host:port"."""

    def __init__(self, listen: tuple[str, int], target: str, bytes_per_s: int) -> None:
        host, _, port = target.rpartition(":")
        self.target = target
        self._target = host, int(port)
        self._bytes_per_s = bytes_per_s
        self._listener = socket.socket()
        _keep_small(self._listener)
        self._listener.bind(listen)
        self._listener.listen()
        self.address = f"{listen[0]}:{self._listener.getsockname()[1]}"
        self._forward: dict[socket.socket, socket.socket] = {}
        self._back: dict[socket.socket, socket.socket] = {}
        self._waiting: dict[socket.socket, bytes] = {}
        """By the socket that they came from: bytes that the other one does not take yet."""
        self.carried = 0
        """Bytes so far, both directions."""
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ThinLink:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._thread.join()

    def _run(self) -> None:
        last = time.monotonic()
        budgets = [0.0, 0.0]
        while not self._ending:
            time.sleep(_POLL_S)
            now = time.monotonic()
            # A thread that was kept waiting makes up for little of it: the link never bursts.
            earned, last = self._bytes_per_s * min(now - last, 3 * _POLL_S), now
            self._accept_all()
            for number, pairs in enumerate((self._forward, self._back)):
                budgets[number] = min(budgets[number] + earned, 2 * earned + _PIECE_BYTES)
                budgets[number] -= self._move(pairs, int(budgets[number]))
        for sock in [*self._forward, *self._back, self._listener]:
            sock.close()

    def _accept_all(self) -> None:
        while select.select([self._listener], [], [], 0)[0]:
            near, _ = self._listener.accept()
            far = socket.socket()
            _keep_small(far)
            try:
                far.connect(self._target)
            except OSError:
                near.close()
                far.close()
                continue
            near.setblocking(False)
            far.setblocking(False)
            self._forward[near] = far
            self._back[far] = near

    def _move(self, pairs: dict[socket.socket, socket.socket], budget: int) -> int:
        """One direction's share of a moment. Returns how many bytes it took."""
        left, idle = budget, 0
        while left > 0 and idle < len(pairs):
            source = next(iter(pairs))
            # To the end of the queue: connections take turns.
            sink = pairs[source] = pairs.pop(source)
            moved = self._move_piece(source, sink, min(left, _PIECE_BYTES))
            left -= moved
            idle = 0 if moved else idle + 1
        return budget - left

    def _move_piece(self, source: socket.socket, sink: socket.socket, size: int) -> int:
        try:
            data = self._waiting.pop(source, b"") or source.recv(size)
            if not data:
                raise ConnectionError
        except BlockingIOError:
            return 0
        except OSError:
            self._end(source, sink)
            return 0
        try:
            sent = sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(source, sink)
            return 0
        if sent < len(data):
            self._waiting[source] = data[sent:]
        self.carried += sent
        return sent

    def _end(self, source: socket.socket, sink: socket.socket) -> None:
        for sock in (source, sink):
            self._forward.pop(sock, None)
            self._back.pop(sock, None)
            self._waiting.pop(sock, None)
            sock.close()


def _keep_small(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
