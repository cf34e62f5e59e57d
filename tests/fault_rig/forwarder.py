"""A network between two gateways that can be frozen and cut: a TCP forwarder in a thread."""

from __future__ import annotations

import select
import socket
import threading
from types import TracebackType

_READ_BYTES = 65_536
_POLL_S = 0.05


class Forwarder:
    """`with Forwarder(listen, target)`: forwards until the block ends. `target` is "host:port"."""

    def __init__(self, listen: tuple[str, int], target: str) -> None:
        host, _, port = target.rpartition(":")
        self.target = target
        self._target = host, int(port)
        self._listener = socket.create_server(listen)
        self.address = f"{listen[0]}:{self._listener.getsockname()[1]}"
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._near: set[socket.socket] = set()
        self._frozen = False
        self._forgets = False
        self._cut = False
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Forwarder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._thread.join()

    @property
    def open(self) -> int:
        """Connections that it forwards."""
        return len(self._pairs) // 2

    def freeze(self) -> None:
        """Nothing arrives any more, either way, and nobody is told. New connections are accepted by the kernel only."""
        self._frozen = True

    def forget(self) -> None:
        """What is open becomes half-open: the far end loses it, this side is never told. New connections work."""
        self._forgets = True

    def cut(self) -> None:
        """Everything that is open ends, and nothing new is accepted."""
        self._cut = True

    def mend(self) -> None:
        self._frozen = self._cut = False

    def _run(self) -> None:
        forgotten: list[socket.socket] = []
        with self._listener:
            while not self._ending:
                if self._cut:
                    self._end_all()
                if self._forgets:
                    forgotten += self._forget_all()
                if self._frozen or self._cut:
                    threading.Event().wait(_POLL_S)
                    continue
                ready, _, _ = select.select([self._listener, *self._pairs], [], [], _POLL_S)
                for sock in ready:
                    self._accept() if sock is self._listener else self._forward(sock)
        self._end_all()
        for sock in forgotten:
            sock.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target, timeout=1)
        except OSError:
            client.close()
            return
        self._pairs |= {client: server, server: client}
        self._near.add(client)

    def _forward(self, sock: socket.socket) -> None:
        other = self._pairs.get(sock)
        if other is None:
            return
        try:
            data = sock.recv(_READ_BYTES)
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        other = self._pairs.pop(sock)
        del self._pairs[other]
        self._near -= {sock, other}
        sock.close()
        other.close()

    def _end_all(self) -> None:
        for sock in [*self._pairs]:
            if sock in self._pairs:
                self._end(sock)

    def _forget_all(self) -> list[socket.socket]:
        """Closes the far ends; returns the near ones, which stay open and are not read any more."""
        self._forgets = False
        near = [sock for sock in self._pairs if sock in self._near]
        for sock in near:
            self._pairs[sock].close()
        self._pairs.clear()
        self._near.clear()
        return near
