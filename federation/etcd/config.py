"""Where etcd is and how to speak to it."""

from __future__ import annotations

import ssl
import urllib.parse

import msgspec

from federation.etcd.errors import EtcdError

DEFAULT_PORT = 2379


class EtcdConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An etcd cluster. `endpoints` are URLs, `http://127.0.0.1:2379` or `https://…`; files are PEM.

    Without `ca_file`, servers are verified against the system's authorities. `cert_file` and `key_file` are our client
    certificate. Files are read again for every new connection, so that renewed ones are taken up.
    """

    endpoints: tuple[str, ...]
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password: str = ""
    call_timeout_s: float = 5.0

    def __repr__(self) -> str:
        user = f", username={self.username!r}, password=<redacted>" if self.username else ""
        return f"EtcdConfig(endpoints={self.endpoints!r}{user})"


class Endpoint(msgspec.Struct, frozen=True):
    """One server's address. `str()` is its URL."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(url: str) -> Endpoint:
    """Reads `http(s)://host[:port]`. Raises EtcdError `bad_config`."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise EtcdError("bad_config", f"{url!r} is not an endpoint: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.username:
        raise EtcdError("bad_config", f"{url!r} is not an endpoint: it must look like https://etcd-1:2379")
    return Endpoint(parts.scheme, parts.hostname, port)


def parse_endpoints(config: EtcdConfig) -> tuple[Endpoint, ...]:
    """All of `config.endpoints`. Raises EtcdError `bad_config`, also for files that cannot be used."""
    if not config.endpoints:
        raise EtcdError("bad_config", "no endpoints: set etcd.endpoints to at least one URL")
    endpoints = tuple(parse_endpoint(url) for url in config.endpoints)
    if any(endpoint.scheme == "https" for endpoint in endpoints):
        client_context(config)
    return endpoints


def client_context(config: EtcdConfig) -> ssl.SSLContext:
    """TLS 1.2 or newer with ALPN h2. Raises EtcdError `bad_config` that names the file at fault."""
    try:
        context = ssl.create_default_context(cafile=config.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise EtcdError("bad_config", f"etcd.ca_file {config.ca_file!r} cannot be used: {error}") from error
    context.set_alpn_protocols(["h2"])
    if config.cert_file:
        try:
            context.load_cert_chain(config.cert_file, config.key_file or None)
        except (OSError, ssl.SSLError) as error:
            files = f"etcd.cert_file {config.cert_file!r} and etcd.key_file {config.key_file!r}"
            raise EtcdError("bad_config", f"{files} cannot be used together: {error}") from error
    return context
