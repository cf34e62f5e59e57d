"""A TCP stream that is kept talking: what it sends comes back, and it notes when it is cut."""

from __future__ import annotations

import socket
import threading

from gateway.demo.waiting import seconds

_PAUSE_S = 0.02
_TIMEOUT_S = 20.0


class EchoStream:
    """One connection to a service that sends back what it gets, in a thread of its own, while the block runs."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.echoed = 0
        """Words that came back."""
        self.ended_at: float | None = None
        """When it was found cut, by the machine's clock; None while it is not."""
        self._socket = socket.create_connection(address, timeout=_TIMEOUT_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def __enter__(self) -> EchoStream:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._stop.set()
        self._thread.join(_TIMEOUT_S)
        self._socket.close()

    def _talk(self) -> None:
        number = 0
        while not self._stop.wait(_PAUSE_S):
            word = b"%08d" % number
            try:
                self._socket.sendall(word)
                heard = self._read(len(word))
            except OSError:
                heard = b""
            if heard != word:
                self.ended_at = seconds()
                return
            number += 1
            self.echoed = number

    def _read(self, size: int) -> bytes:
        heard = b""
        while len(heard) < size:
            data = self._socket.recv(size - len(heard))
            if not data:
                return b""
            heard += data
        return heard
