"""URLs of bundle endpoints (SPIFFE Federation, sections 5.2.1.1 and 5.2.2.1)."""

from __future__ import annotations

from urllib.parse import urlsplit

from trust.errors import TrustError

MAX_URL_BYTES = 2048


def parse_bundle_url(text: str) -> str:
    """Returns `text` if it can be a bundle endpoint's URL: https, with a host, without userinfo.

    Raises TrustError with code `malformed-bundle-url`; the message does not repeat what may hold a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _malformed("it is not a URL") from None
    if len(text) > MAX_URL_BYTES or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise _malformed("it is not a URL of at most 2048 ASCII characters without spaces")
    if "@" in parts.netloc:
        raise _malformed("it has a user in it, which SPIFFE forbids")
    if parts.scheme != "https":
        raise _malformed("it does not begin with https://")
    if not parts.hostname or port == 0:
        raise _malformed("it has no host and port that can be reached")
    if parts.fragment:
        raise _malformed("it has a fragment, which no server is told")
    return text


def _malformed(why: str) -> TrustError:
    return TrustError("malformed-bundle-url", f"not the URL of a bundle endpoint: {why}")
