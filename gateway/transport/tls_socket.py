"""TLS on a non-blocking socket, with OpenSSL between two buffers in memory.

`ssl.SSLSocket` lets OpenSSL read and write the socket itself: two system calls for each record that comes, a third one
to learn that there is no more, and one for each record that goes. Here what has come is read with one call and
decrypted record by record, and what goes is encrypted whole and written with one call (measured: docs/performance.md).
It also ends one direction and goes on with the other, which `SSLSocket` can't: its `unwrap` reads at once, and takes
the other side's data for an error; its `shutdown` throws TLS away.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

RECORD_BYTES: Final = 16_384
"""The most plain text that one record has (RFC 8446 section 5.1)."""
LEAST_ROOM_BYTES: Final = 2 * RECORD_BYTES
"""What `recv_into` needs: room for the record that OpenSSL has in part, and for more to come."""
_HANDSHAKE_READ_BYTES: Final = 4_096
_NOTHING: Final = memoryview(b"")
# Linux 4.10 and later (linux/tcp.h): `tcpi_bytes_acked` and `tcpi_busy_time` of `struct tcp_info`.
_TCP_INFO: Final = struct.Struct("=120xQ40xQ")


class TlsSocket:
    """One side of a TLS connection. Has of a socket's methods those that a `Connection` uses; owns `sock`.

    Attributes:
        object: for what a handshake has agreed on, and who the peer is.
        ended: the peer has ended its direction, or broke it: `recv_into` says so without the socket.
        emptied: the last `recv_into` has left nothing in the socket.
    """

    def __init__(
        self,
        sock: socket.SocketType,
        context: ssl.SSLContext,
        *,
        server: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self.ended = self.emptied = False
        self._sock = sock
        self._received, self._cipher = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self._received, self._cipher, server_side=server, server_hostname=server_hostname
        )
        self._unsent = _NOTHING
        self._taken = 0
        """Bytes of plain text that `_unsent` stands for."""
        self._failure: ssl.SSLError | None = None

    def __repr__(self) -> str:
        return f"<TlsSocket {self.object.version() or 'shaking hands'}, {len(self._unsent)} bytes unsent>"

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def alpn(self) -> str | None:
        return self.object.selected_alpn_protocol()

    @property
    def pending(self) -> int:
        """Bytes that came with the end of the handshake: the socket does not become readable for them."""
        return self._received.pending

    def do_handshake(self) -> None:
        """One step. Raises SSLWantReadError or SSLWantWriteError while there are more, other OSErrors when it fails;
        what the peer is to be told about it has been sent then, as far as the socket takes it."""
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(memoryview(bytearray(_HANDSHAKE_READ_BYTES)))
            except ssl.SSLError:
                self._flush_if_possible()
                raise
            else:
                self._flush()
                return

    def recv_into(self, view: memoryview) -> int:
        """All plain text that has come, up to the length of `view` (at least `LEAST_ROOM_BYTES`); 0 at its end. Raises
        SSLWantReadError when there is none, other OSErrors when the connection is broken."""
        if self.ended:
            return self._end()
        try:
            # Not more cipher text than there is room for: what OpenSSL could not hand on would wait unseen. It comes
            # through the same memory as the plain text goes, which is in the processor's cache then.
            self._feed(view[: len(view) - RECORD_BYTES - self._received.pending])
        except ssl.SSLWantReadError:
            if not self._received.pending:
                raise
        count = self._decrypt(view)
        if self._cipher.pending:
            self._flush_if_possible()
        if not count and not self.ended:
            raise ssl.SSLWantReadError
        return count or self._end()

    def _end(self) -> int:
        if self._failure is not None:
            raise self._failure
        return 0

    def _decrypt(self, view: memoryview) -> int:
        """All whole records that are here."""
        # typeshed knows `SSLObject.read` as what returns bytes; with a buffer it returns how much it has put there.
        read: Callable[[int, memoryview], int] = cast(Any, self.object.read)
        received, count, size = self._received, 0, 0
        try:
            while size := read(RECORD_BYTES, view[count:] if count else view):
                count += size
                if not received.pending:
                    return count
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.ended = True
        except ssl.SSLError as error:
            # What came before it is still worth having.
            self.ended, self._failure = True, error
        return count

    def send(self, data: bytes) -> int:
        """Sends all of `data` and returns its length. Raises SSLWantWriteError while the socket does not take it: the
        very same bytes must be offered again then."""
        if not self._taken:
            self._taken = self.object.write(data)
        self._flush()
        taken, self._taken = self._taken, 0
        return taken

    def keep_unsent(self, size_bytes: int) -> None:
        """From now on the kernel takes no more than about so much beyond what the peer has room for. By itself it takes
        up to 4 MB, and what is urgent waits behind all of it. One that is lost already shows that when it is used."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size_bytes)

    def taken(self) -> tuple[int, float] | None:
        """Since the connection began: how many bytes the far end has acknowledged, and the seconds in which there were
        any to send. None where the kernel does not count that."""
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            acked_bytes, busy_us = _TCP_INFO.unpack(info)
        except (AttributeError, OSError, struct.error):
            return None
        return acked_bytes, busy_us / 1e6

    def shutdown(self, how: int) -> None:
        """Ends our direction (`how` is SHUT_WR): says so in TLS, then in TCP. Raises SSLWantWriteError when there is no
        room for it yet."""
        try:
            self.object.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass  # The other direction goes on, or has ended before.
        self._flush()
        self._sock.shutdown(how)

    def discard(self) -> bool:
        """After a handshake that failed: ends our direction, and throws away what has come. False at its end."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            return bool(self._sock.recv(_HANDSHAKE_READ_BYTES))
        except BlockingIOError:
            return True

    def close(self) -> None:
        self._sock.close()

    def _flush(self) -> None:
        """Sends what OpenSSL has written. Raises SSLWantWriteError if some of it is left."""
        if self._cipher.pending:
            more = self._cipher.read()
            self._unsent = memoryview(bytes(self._unsent) + more if self._unsent else more)
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                raise ssl.SSLWantWriteError from None
            self._unsent = self._unsent[sent:] if sent < len(self._unsent) else _NOTHING

    def _flush_if_possible(self) -> None:
        """For what OpenSSL writes by itself: an alert, an answer to a key update. What is left goes with what is sent
        next."""
        try:
            self._flush()
        except OSError:
            pass

    def _feed(self, room: memoryview) -> None:
        """Gives OpenSSL what has come, as much as `room` has. Raises SSLWantReadError when nothing has."""
        try:
            size = self._sock.recv_into(room)
        except BlockingIOError:
            raise ssl.SSLWantReadError from None
        self.emptied = size < len(room)
        if size:
            self._received.write(room[:size])
        else:
            self._received.write_eof()
