"""Clients that move a gigabyte through a gateway, each in a thread, for tests of what else the gateway carries."""

from __future__ import annotations

import socket
import threading
from types import TracebackType

SIZE_BYTES = 1_000_000_000
_PIECE_BYTES = 65_536
_BUFFER_BYTES = 32_768
_PATIENCE_S = 0.2
"""So long a client waits for its socket before it looks whether it shall end."""


class Transfer:
    """`with Transfer(address, authority)`: moves bytes over HTTP/1.1 until the block ends.

    Attributes:
        moved: bytes so far, as this side sees it.
        problem: why it ended before it should, or nothing.
    """

    def __init__(self, address: tuple[str, int], authority: str) -> None:
        self.moved = 0
        self.problem = ""
        self._address = address
        self._authority = authority
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Transfer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._thread.join()

    def _line(self) -> str:
        raise NotImplementedError

    def _length(self) -> str:
        """The field that says how long the body is, if there is one."""
        return ""

    def _move(self, sock: socket.socket) -> int:
        raise NotImplementedError

    def _run(self) -> None:
        with socket.socket() as sock:
            for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                sock.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER_BYTES)
            try:
                sock.connect(self._address)
                sock.sendall(f"{self._line()} HTTP/1.1\r\nhost: {self._authority}\r\n{self._length()}\r\n".encode())
                sock.settimeout(_PATIENCE_S)
                while not self._ending:
                    try:
                        self.moved += self._move(sock)
                    except TimeoutError:
                        continue
            except OSError as error:
                self.problem = repr(error)


class Upload(Transfer):
    def _line(self) -> str:
        return "POST /"

    def _length(self) -> str:
        return f"content-length: {SIZE_BYTES}\r\n"

    def _move(self, sock: socket.socket) -> int:
        return sock.send(bytes(_PIECE_BYTES))


class Download(Transfer):
    def _line(self) -> str:
        return f"GET /bytes/{SIZE_BYTES}"

    def _move(self, sock: socket.socket) -> int:
        data = sock.recv(_PIECE_BYTES)
        if not data:
            raise ConnectionError("it ended")
        return len(data)
