"""TLS contexts. Between gateways: TLS 1.3 only, both sides with certificates, ALPN `h2`.

A context proves that the peer owns a key whose chain ends in some root that was given. Whose it is, and whether that
root speaks for them, is `trust.verify.validate_gateway`'s question, asked after the handshake and before the first
byte is used.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from trust.svid import X509Svid

ALPN = "h2"


def server_context(svid: X509Svid, roots: Iterable[bytes]) -> ssl.SSLContext:
    """For the mesh listener. `roots` are the DER roots of every trust domain that may connect.

    OpenSSL looks an issuer up by name and key identifier and tries the first that fits, so a member that publishes a
    root with another's name and identifier could shut that other one out. The order of `roots` is kept: give those
    that have been believed for longest first.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, svid, roots)
    # A resumed session would carry the identity of an earlier handshake past its certificate's end.
    context.num_tickets = 0
    return context


def client_context(svid: X509Svid, roots: Iterable[bytes]) -> ssl.SSLContext:
    """For tunnels to one peer. `roots` are the DER roots of that peer's trust domain alone."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, svid, roots)


def endpoint_context(
    svid: X509Svid | None, roots: Iterable[bytes], *, alpn: Sequence[str], check_name: bool
) -> ssl.SSLContext:
    """For connections to a service's own endpoints: TLS 1.2 or 1.3, whose servers chain to `roots` (DER) alone.

    `check_name` lets OpenSSL compare the host name or IP address that the connection is made with. `svid` is shown to
    a server that asks for a client certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = check_name
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if alpn:
        context.set_alpn_protocols([*alpn])
    _load_roots(context, roots)
    if svid is not None:
        load_svid(context, svid)
    return context


def _context(protocol: ssl._SSLMethod, svid: X509Svid, roots: Iterable[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # A SPIFFE certificate has no host name. validate_gateway checks the name that it has.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # A bundle's authority need not be self-signed (X509-SVID section 6.1).
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_TICKET
    context.set_alpn_protocols([ALPN])
    _load_roots(context, roots)
    load_svid(context, svid)
    return context


def load_svid(context: ssl.SSLContext, svid: X509Svid) -> None:
    """Makes a context show an SVID, without its key touching a disk."""
    pem = svid.key.expose_private_pem() + b"".join(ssl.DER_cert_to_PEM_cert(der).encode() for der in svid.chain)
    with (_file_in_memory if hasattr(os, "memfd_create") else _file_on_disk)(pem) as path:
        context.load_cert_chain(path)


def _load_roots(context: ssl.SSLContext, roots: Iterable[bytes]) -> None:
    for der in roots:
        try:
            context.load_verify_locations(cadata=der)
        except (ssl.SSLError, ValueError):
            # OpenSSL can't read what `parse_bundle` could. Whoever chains to it is refused, and nobody else is: one
            # member's odd certificate must not close the port to all.
            continue


@contextmanager
def _file_in_memory(content: bytes) -> Iterator[str]:
    """OpenSSL takes a key only from a file. This one never touches a disk, and goes when its descriptor closes."""
    descriptor = os.memfd_create("svid")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def _file_on_disk(content: bytes) -> Iterator[str]:
    """Where there is no memfd: a file of mode 0600 that is gone before the context is used."""
    descriptor, path = tempfile.mkstemp(prefix="isthmus-")
    try:
        os.write(descriptor, content)
        yield path
    finally:
        os.close(descriptor)
        os.unlink(path)


def peer_chain(tls: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """The certificates that the peer sent, DER, leaf first; empty when it sent none.

    They are as they came, and mean nothing before `validate_gateway`. Python makes this public in 3.13; before, the
    method is there under the private object. Elsewhere only the leaf can be had, which is all of the chain as long as
    the peer's authority is a root.
    """
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    private = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    if private is not None:
        # 2 is _ssl.ENCODING_DER.
        return [certificate.public_bytes(2) for certificate in private() or ()]
    leaf = tls.getpeercert(binary_form=True)
    return [leaf] if leaf else []
