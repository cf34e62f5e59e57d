"""Finds a running gateway's status API, and asks it."""

from __future__ import annotations

import argparse
import http
import http.client
import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from federation.status.values import CLUSTER_HEADER, ErrorDocument
from gateway.cli.exit_codes import UNREACHABLE, USAGE, Failure
from gateway.cli.table import printable

_TIMEOUT_S = 5.0
_ANSWER_LIMIT_BYTES = 1 << 28

_T = TypeVar("_T")


class GatewayApi:
    """The API at `host` and `port`. `advice` says what to do when nobody answers there, or another cluster's gateway
    than that of `cluster`; without one, any will do."""

    def __init__(self, host: str, port: int, advice: str, cluster: str = "") -> None:
        self.host = host
        self._port = port
        self._advice = advice
        self._cluster = cluster

    def __str__(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self._port}"

    def get(self, path: str) -> bytes:
        """The answer's body. Raises Failure for everything but 200."""
        status, body = self._ask(path)
        if status != 200:
            raise self._refused(path, status, body)
        return body

    def find(self, path: str, document: type[_T]) -> _T | None:
        """The document at `path`, None where there is none (404)."""
        status, body = self._ask(path)
        if status == 404:
            return None
        if status != 200:
            raise self._refused(path, status, body)
        return self.read(body, document)

    def read(self, body: bytes, document: type[_T]) -> _T:
        """A document from an answer. Raises Failure for what is not one."""
        try:
            return msgspec.json.decode(body, type=document)
        except msgspec.DecodeError as error:
            raise Failure(
                UNREACHABLE, f"what {self} answers is not a status of Isthmus, or of another version: {error}"
            ) from None

    @contextmanager
    def opened(self, path: str, headers: Mapping[str, str], silence_s: float) -> Iterator[http.client.HTTPResponse]:
        """An answer that goes on and on; reading it raises TimeoutError after so long a silence. Raises Failure if
        nobody answers, or not with 200."""
        connection = http.client.HTTPConnection(self.host, self._port, timeout=silence_s)
        try:
            try:
                connection.request("GET", path, headers=dict(headers))
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._no_answer(error) from None
            with response:
                self._check_cluster(response)
                if response.status != 200:
                    raise self._refused(path, response.status, response.read(_ANSWER_LIMIT_BYTES))
                yield response
        finally:
            connection.close()

    def _refused(self, path: str, status: int, body: bytes) -> Failure:
        """400 is a gateway that was asked for what can't be: a mistake on the command line."""
        if status == http.HTTPStatus.BAD_REQUEST:
            return Failure(USAGE, _error_in(body))
        return Failure(UNREACHABLE, f"{self}{path} answered {status}: {_error_in(body)}")

    def _no_answer(self, error: Exception) -> Failure:
        reason = printable(getattr(error, "strerror", None) or str(error)[:200]) or type(error).__name__
        return Failure(UNREACHABLE, f"no status from {self}: {reason}; {self._advice}")

    def _check_cluster(self, response: http.client.HTTPResponse) -> None:
        """Raises Failure if it is the answer of another cluster: two of one machine may be configured to listen at the
        same address, and only one of them does."""
        who = response.getheader(CLUSTER_HEADER, self._cluster)
        if self._cluster and who != self._cluster:
            raise Failure(
                UNREACHABLE,
                f"{self} is the status of cluster {printable(who)}, not of {self._cluster}: each gateway of a machine "
                f"needs a status.listen of its own; {self._advice}",
            )

    def _ask(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            self._check_cluster(response)
            return response.status, response.read(_ANSWER_LIMIT_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from None
        finally:
            connection.close()


def find_gateway(arguments: argparse.Namespace, *, of_any_cluster: bool = False) -> GatewayApi:
    """By `--url`, else by the configuration, which names the cluster that has to answer. Raises Failure."""
    if arguments.url is not None:
        return _by_url(arguments.url)
    return _by_config(Path(arguments.config), of_any_cluster)


def _by_url(url: str) -> GatewayApi:
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise Failure(USAGE, f"--url {url}: not the address of a status API; expected one like http://127.0.0.1:15000")
    return GatewayApi(parts.hostname, port, "is the gateway running, and is this its status.listen?")


def _by_config(path: Path, of_any_cluster: bool) -> GatewayApi:
    from gateway.config import ConfigError, load_config
    from gateway.status.addresses import read_addresses

    try:
        config = load_config(path)
    except ConfigError as error:
        raise Failure(
            USAGE, f"{error}\ncorrect it, name another with -c, or ask a running gateway with --url"
        ) from None
    advice = f"start the gateway with isthmus run -c {path}, or name another one with --url"
    cluster = "" if of_any_cluster else config.cluster.name
    listen = config.status.listen
    if listen.port:
        return GatewayApi(reachable_host(listen.host), listen.port, advice, cluster)
    addresses = read_addresses(config.state_dir)
    if addresses is None:
        message = f"no gateway runs with {path}: {config.state_dir} does not say where its status is; {advice}"
        raise Failure(UNREACHABLE, message)
    host, port = split_host_port(addresses.status)
    return GatewayApi(reachable_host(host), port, advice, cluster)


def split_host_port(address: str) -> tuple[str, int]:
    """ "host:port" or "[v6]:port", as gateways write it."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def reachable_host(host: str) -> str:
    """Where to find on this machine what listens on `host`: a wildcard address is no destination."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _error_in(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=ErrorDocument).error
    except msgspec.DecodeError:
        return printable(body[:200].decode(errors="replace")) or "nothing more"
