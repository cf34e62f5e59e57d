"""One GET of a bundle endpoint, by HTTPS and bounded: size, time, redirects."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urljoin

import httpx
import trio

from trust.bundle import MAX_DOCUMENT_BYTES
from trust.bundle_source import BundleSource, Fetched
from trust.bundle_url import parse_bundle_url
from trust.contexts import peer_chain
from trust.errors import TrustError

FETCH_TIMEOUT_S = 15.0
MAX_REDIRECTS = 3
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "isthmus"}


class FetchFailed(Exception):
    """The endpoint gave no document; the message says why."""


async def fetch_bundle(source: BundleSource) -> Fetched:
    """Follows redirects as the profiles allow: to URLs that would be valid themselves. What came is not judged yet.

    Raises FetchFailed.
    """
    try:
        context = _client_context(source)
        with trio.fail_after(FETCH_TIMEOUT_S):
            # Neither proxies nor certificate files of the environment: what is configured counts.
            async with httpx.AsyncClient(verify=context, trust_env=False, timeout=FETCH_TIMEOUT_S) as client:
                return await _follow(client, source.url)
    except trio.TooSlowError:
        raise FetchFailed(f"{source.url}: no whole answer within {FETCH_TIMEOUT_S:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise FetchFailed(f"{source.url}: {type(error).__name__}: {_words(error)[:200]}") from None


async def _follow(client: httpx.AsyncClient, url: str) -> Fetched:
    chains: list[tuple[bytes, ...]] = []
    for _ in range(MAX_REDIRECTS + 1):
        async with client.stream("GET", url, headers=_HEADERS, follow_redirects=False) as response:
            chains.append(_chain_of(response))
            if response.has_redirect_location:
                url = _redirected(url, response.headers["location"])
                continue
            if response.status_code != 200:
                raise FetchFailed(f"{url}: HTTP status {response.status_code}")
            return Fetched(await _body(response, url), tuple(chains))
    raise FetchFailed(f"{url}: more than {MAX_REDIRECTS} redirects")


def _redirected(url: str, location: str) -> str:
    try:
        return parse_bundle_url(urljoin(url, location))
    except TrustError as error:
        raise FetchFailed(f"{url} redirects to what is no bundle endpoint: {error}") from None


async def _body(response: httpx.Response, url: str) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed(f"{url}: the answer is encoded, which nobody asked for")
    body = bytearray()
    # Read to its end, which the deadline bounds: the client's generators do not take it well to be left half-way.
    async for chunk in response.aiter_raw():
        if len(body) <= MAX_DOCUMENT_BYTES:
            body += chunk
    if len(body) > MAX_DOCUMENT_BYTES:
        raise FetchFailed(f"{url}: more than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(body)


def _words(error: BaseException) -> str:
    """What was wrong: the client wraps errors in others that often say nothing."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    deeper = _words(cause) if cause is not None else ""
    return deeper or str(error)


def _chain_of(response: httpx.Response) -> tuple[bytes, ...]:
    """The server's certificates as it sent them."""
    stream: Any = response.extensions["network_stream"]
    tls = stream.get_extra_info("ssl_object")
    return tuple(peer_chain(tls)) if isinstance(tls, ssl.SSLObject | ssl.SSLSocket) else ()


def _client_context(source: BundleSource) -> ssl.SSLContext:
    if source.endpoint_id is None:
        context = ssl.create_default_context(cafile=source.ca_file or None)
    else:
        # A SPIFFE certificate has no host name, and `accept_bundle` judges the chain, before anything is believed.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
