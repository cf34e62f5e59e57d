"""Opens a connection to one endpoint, and says in the operator's words why it could not."""

from __future__ import annotations

import os
import ssl

import trio

from federation.etcd.config import Endpoint, EtcdConfig, client_context
from federation.etcd.errors import EtcdError

DIAL_TIMEOUT_S = 3.0
"""For TCP, TLS and the server's first HTTP/2 frame together."""


async def dial(endpoint: Endpoint, config: EtcdConfig) -> trio.abc.Stream:
    """Connects, and shakes hands if the endpoint is https. Raises EtcdError `unavailable` or `bad_config`."""
    try:
        stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    except OSError as error:
        raise EtcdError("unavailable", f"cannot connect: {_words(error)}") from error
    if endpoint.scheme == "http":
        return stream
    try:
        secured = trio.SSLStream(stream, client_context(config), server_hostname=endpoint.host, https_compatible=True)
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise EtcdError("unavailable", explain_tls(error.__cause__ or error, config)) from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


def explain_tls(error: BaseException, config: EtcdConfig) -> str:
    """What a failed handshake means for the configuration."""
    if isinstance(error, ssl.SSLCertVerificationError):
        ca = f"etcd.ca_file {config.ca_file!r}" if config.ca_file else "the system's authorities; set etcd.ca_file"
        return f"the server's certificate is refused: {error.verify_message} (verified against {ca})"
    words = f"the TLS handshake failed: {error}"
    reason = getattr(error, "reason", None) or ""
    # A server that takes our greeting for a bad request may have closed before its words were read.
    hung_up = "EOF" in reason or isinstance(error, ConnectionError)
    if hung_up or "WRONG_VERSION" in reason or "RECORD_LAYER" in reason:
        return f"{words}; if the server does not speak TLS, write the endpoint as http://"
    return explain_alert(words, config)


def explain_alert(because: str, config: EtcdConfig) -> str:
    """Adds what to do where the server has complained of our client certificate. With TLS 1.3 it does so after the
    handshake, so that it looks like a broken connection."""
    lowered = because.lower().replace("_", " ")
    if "alert" not in lowered or not ("certificate" in lowered or "unknown ca" in lowered):
        return because
    if not config.cert_file:
        return f"{because}; the server demands a client certificate: set etcd.cert_file and etcd.key_file"
    return f"{because}; the server refuses our client certificate {config.cert_file!r}: is its authority etcd's?"


def _words(error: BaseException) -> str:
    """An OSError's own words: trio wraps those of each address that it tried."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return ", ".join(sorted({_words(one) for one in cause.exceptions}))
    if cause is not None:
        return _words(cause)
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # What trio makes of it has the address once more.
    return getattr(error, "strerror", None) or str(error)
