"""Where each thing lies in etcd (DESIGN section 7): keys are built and taken apart here and nowhere else.

    <prefix>/v1/<federation>/clusters/<cluster>/bundle
                                               /gateways/<gateway id>
                                               /digests/<number>
                                               /exports/<namespace>/<name>
                                               /acks/<peer>
                                               /vips/<namespace>/<name>
                                               /requests/<inviter>
                                               /answers/<joiner>

What follows the cluster's name is the *path*: it is what a signed record claims as its place.
"""

from __future__ import annotations

import enum
import functools
import re

import msgspec

from discovery.model import ServiceName, is_dns_label
from federation.etcd.kv import KeyRange

MAX_KEY_BYTES = 1_024
_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_PATH = re.compile(f"{_LABEL}(?:/{_LABEL}){{0,2}}")
"""Kinds are labels as well, so that one look judges a whole path."""


class Kind(enum.StrEnum):
    """What a key is about; the first segment of its path."""

    BUNDLE = "bundle"
    GATEWAY = "gateways"
    DIGEST = "digests"
    """That many exports are what their cluster signed (`federation.digests`). It sorts between the bundle, with the key
    that it is signed with, and the exports."""
    EXPORT = "exports"
    ACK = "acks"
    VIP = "vips"
    REQUEST = "requests"
    """A wish to join, to the cluster that invited (`federation.join_request`)."""
    ANSWER = "answers"


_NAMES = {
    Kind.BUNDLE: 0,
    Kind.GATEWAY: 1,
    Kind.DIGEST: 1,
    Kind.EXPORT: 2,
    Kind.ACK: 1,
    Kind.VIP: 2,
    Kind.REQUEST: 1,
    Kind.ANSWER: 1,
}
"""How many names follow the kind."""
_KINDS = {str(kind): kind for kind in Kind}
_VIPS = b"/vips/"
_BUNDLE = b"/bundle"
_DIGESTS = b"/digests/"


class Path(str):
    """A place below a cluster, which is its text: what etcd or a file says finds it where it is looked up, without
    being taken apart. Made of as many DNS labels as the kind asks for."""

    __slots__ = ("kind",)
    kind: Kind

    def __new__(cls, kind: Kind, names: tuple[str, ...] = ()) -> Path:
        return _spelled(kind, "/".join((kind, *names)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.split("/")[1:])

    @property
    def service(self) -> ServiceName:
        """The service that an export or a virtual IP is about."""
        _, namespace, name = self.split("/")
        return ServiceName(namespace, name)


def _spelled(kind: Kind, text: str) -> Path:
    made = str.__new__(Path, text)
    made.kind = kind
    return made


class Key(msgspec.Struct, frozen=True):
    """A key that fits the layout."""

    cluster: str
    path: Path


class StrayKey(msgspec.Struct, frozen=True):
    """A key that fits no form. `cluster` is empty when not even that could be read."""

    cluster: str
    text: str
    reason: str


BUNDLE = Path(Kind.BUNDLE)


def gateway(gateway_id: str) -> Path:
    return Path(Kind.GATEWAY, (gateway_id,))


def export(name: ServiceName) -> Path:
    return Path(Kind.EXPORT, (name.namespace, name.name))


def digest(number: int) -> Path:
    return Path(Kind.DIGEST, (str(number),))


def ack(peer: str) -> Path:
    return Path(Kind.ACK, (peer,))


def vip(name: ServiceName) -> Path:
    return Path(Kind.VIP, (name.namespace, name.name))


def request(inviter: str) -> Path:
    return Path(Kind.REQUEST, (inviter,))


def answer(joiner: str) -> Path:
    return Path(Kind.ANSWER, (joiner,))


def vouches(key: bytes) -> bool:
    """Whether a cluster's bundle or a digest lies there: what comes after it may be signed with keys that the one
    brings, or be what the other names."""
    return key.endswith(_BUNDLE) or _DIGESTS in key


def parse_path(text: str) -> Path | None:
    """The path that `text` spells, or None when it fits no form."""
    if _PATH.fullmatch(text) is None:
        return None
    first, *names = text.split("/")
    kind = _KINDS.get(first)
    if kind is None or len(names) != _NAMES[kind]:
        return None
    return _spelled(kind, text)


def known_path(text: str) -> Path:
    """The path that `text` spells, which was a path when it was written."""
    return _spelled(_KINDS[text.partition("/")[0]], text)


class Layout:
    """The keys of one federation in one etcd.

    `prefix` is what an operator chose for all of Isthmus in that etcd, such as `/isthmus`.
    """

    def __init__(self, prefix: str, federation: str) -> None:
        self.federation = federation
        self.clusters = f"{prefix.rstrip('/')}/v1/{federation}/clusters/".encode()
        """What every member's keys begin with: the prefix that readers list and watch."""

    def __repr__(self) -> str:
        return f"Layout({self.clusters.decode()!r})"

    def key(self, cluster: str, path: Path) -> bytes:
        return self.clusters + f"{cluster}/{path}".encode()

    def all_of(self, cluster: str, kind: Kind) -> KeyRange:
        """Where all keys of this kind (one that names follow) lie of a cluster."""
        return _below(self.clusters + f"{cluster}/{kind}/".encode())

    def vips_after(self, key: bytes) -> KeyRange:
        """Where the virtual IPs lie of the cluster that this key lies under."""
        name, _, _ = key[len(self.clusters) :].partition(b"/")
        return _below(self.clusters + name + _VIPS)

    def is_vip(self, key: bytes) -> bool:
        """Whether a virtual IP lies there, of whatever cluster: quicker than taking the key apart."""
        return key.startswith(_VIPS, key.find(b"/", len(self.clusters)))

    def parse_key(self, key: bytes) -> Key | StrayKey:
        """Takes a key apart. Nothing that a stranger wrote into etcd raises here."""
        return _parse_again(self.clusters, key) if len(key) <= MAX_KEY_BYTES else _parse(self.clusters, key)


def _below(folder: bytes) -> KeyRange:
    return KeyRange(folder, folder[:-1] + b"0")  # The character after the slash.


def _parse(clusters: bytes, key: bytes) -> Key | StrayKey:
    text = _show(key)
    if not key.startswith(clusters):
        return StrayKey("", text, f"does not begin with {clusters.decode()}")
    cluster, _, rest = text[len(clusters) :].partition("/")
    if not is_dns_label(cluster):
        return StrayKey("", text, "the cluster's name is not a DNS label")
    path = parse_path(rest) if len(key) <= MAX_KEY_BYTES else None
    if path is None:
        return StrayKey(cluster, text, "no record of a known kind lies here")
    return Key(cluster, path)


_parse_again = functools.lru_cache(maxsize=8_192)(_parse)
"""A page of a listing is looked at twice in a row, and services change again and again."""


def _show(key: bytes) -> str:
    """A key as text that does no harm in a log or terminal, whoever wrote it."""
    text = key[:MAX_KEY_BYTES].decode("ascii", "backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]
