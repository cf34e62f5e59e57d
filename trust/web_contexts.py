"""TLS contexts of HTTPS servers that ask nobody for a certificate: with an SVID, or with a web server's files."""

from __future__ import annotations

import ssl
from pathlib import Path

from trust.contexts import load_svid
from trust.errors import TrustError
from trust.svid import X509Svid


def svid_server_context(svid: X509Svid) -> ssl.SSLContext:
    """Shows an X.509-SVID (SPIFFE Federation, section 5.2.2: `https_spiffe`)."""
    context = _server_context()
    load_svid(context, svid)
    return context


def file_server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Shows a web server's certificate (`https_web`). Raises TrustError: `unreadable-file` or `key-mismatch`."""
    context = _server_context()
    try:
        context.load_cert_chain(cert_file, key_file)
    except ssl.SSLError as error:
        raise TrustError(
            "key-mismatch", f"{cert_file} and {key_file} are not a certificate and its key in PEM: {error.reason}"
        ) from None
    except OSError as error:
        raise TrustError("unreadable-file", f"{cert_file} or {key_file} can't be read: {error.strerror}") from None
    return context


def _server_context() -> ssl.SSLContext:
    # Never CERT_REQUEST: section 5.2 forbids to ask for a client's certificate.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
