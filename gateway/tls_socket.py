"""TLS on a non-blocking socket that can end one direction and go on with the other.

`ssl.SSLSocket` can't: its `unwrap` says goodbye and then reads at once, and what it reads of the other side's data is
an error that ends the connection; its `shutdown` throws TLS away and leaves cipher text to be read. So this works on
`ssl.SSLObject`, which reads only what it was given: one record at a time, so that nothing is ever held here that the
event loop does not know of.
"""

from __future__ import annotations

import socket
import ssl

_HEADER_BYTES = 5
# The plain text of one record (RFC 8446 section 5.1).
_RECORD_BYTES = 16_384


class TlsSocket:
    """A client's TLS connection. Has of a socket's methods those that a `Connection` uses; owns `sock`.

    Offer `recv_into` room for a whole record (16 KiB): what does not fit would wait unseen.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._sock = sock
        self._received, self._cipher = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._cipher, server_hostname=server_hostname)
        self._header = b""
        self._left = 0
        """Bytes of the present record that have not come yet, once its header has."""
        self._unsent = b""
        self._taken = 0
        """Bytes of plain text that `_unsent` stands for."""

    def __repr__(self) -> str:
        return f"<TlsSocket {self._tls.version() or 'shaking hands'}, {len(self._unsent)} bytes unsent>"

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    def peer_certificate(self) -> bytes:
        """The server's certificate (DER), once hands are shaken."""
        return self._tls.getpeercert(binary_form=True) or b""

    def do_handshake(self) -> None:
        """One step. Raises SSLWantReadError or SSLWantWriteError while there are more, other OSErrors when it fails;
        what the server is to be told about it has been sent then."""
        while True:
            self._send_cipher()
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_cipher()
                self._feed()
            except ssl.SSLError:
                self._send_cipher()
                raise
            else:
                self._send_cipher()
                return

    def recv_into(self, view: memoryview) -> int:
        """Plain text, 0 at its end. Raises as `ssl.SSLSocket` does."""
        while True:
            try:
                return self._tls.read(len(view), view)  # type: ignore[return-value,arg-type,unused-ignore]
            except ssl.SSLWantReadError:
                self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0

    def send(self, data: bytes) -> int:
        """How much of `data` was sent. After SSLWantWriteError the same bytes must be offered again."""
        if not self._taken:
            self._taken = self._tls.write(data[:_RECORD_BYTES])
        self._send_cipher()
        taken, self._taken = self._taken, 0
        return taken

    def shutdown(self, how: int) -> None:
        """Ends our direction (`how` is SHUT_WR): says so in TLS, then in TCP. Raises SSLWantWriteError when there is no
        room for it yet."""
        try:
            self._tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass  # The other direction goes on, or has ended before.
        self._send_cipher()
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()

    def _send_cipher(self) -> None:
        self._unsent += self._cipher.read()
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                raise ssl.SSLWantWriteError from None
            self._unsent = self._unsent[sent:]

    def _feed(self) -> None:
        """Gives TLS what has come, at most to the end of a record. Raises SSLWantReadError when nothing has."""
        wanted = self._left or _HEADER_BYTES - len(self._header)
        try:
            data = self._sock.recv(wanted)
        except BlockingIOError:
            raise ssl.SSLWantReadError from None
        if not data:
            self._received.write_eof()
        elif self._left:
            self._left -= len(data)
        else:
            self._header += data
            if len(self._header) == _HEADER_BYTES:
                self._left, self._header = int.from_bytes(self._header[3:], "big"), b""
        self._received.write(data)
