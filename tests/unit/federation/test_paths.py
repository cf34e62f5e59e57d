"""Keys: what is built is what is parsed, and what fits no form is said, never raised."""

from __future__ import annotations

import pytest

from discovery.model import ServiceName
from federation import paths
from federation.paths import BUNDLE, Key, Layout, StrayKey, parse_path

LAYOUT = Layout("/isthmus/", "acme")
PAY = ServiceName("shop", "pay")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (BUNDLE, "bundle"),
        (paths.gateway("gw-1"), "gateways/gw-1"),
        (paths.export(PAY), "exports/shop/pay"),
        (paths.ack("eu"), "acks/eu"),
        (paths.vip(PAY), "vips/shop/pay"),
    ],
)
def test_every_kind_has_its_place(path: paths.Path, text: str) -> None:
    """The layout is what operators grant roles on and other tools read: it is spelled out here."""
    key = LAYOUT.key("west", path)
    assert key == f"/isthmus/v1/acme/clusters/west/{text}".encode()
    assert LAYOUT.parse_key(key) == Key("west", path)
    assert parse_path(str(path)) == path


@pytest.mark.parametrize(
    ("rest", "cluster"),
    [
        (b"west", "west"),
        (b"west/", "west"),
        (b"west/bundle/x", "west"),
        (b"west/exports/shop", "west"),
        (b"west/exports/shop/pay/x", "west"),
        (b"west/exports/Shop/pay", "west"),
        (b"west/exports//pay", "west"),
        (b"west/gateways/", "west"),
        (b"west/nonsense/x", "west"),
        (b"west/gateways/" + b"a" * 2000, "west"),
        (b"WEST/bundle", ""),
        (b"/bundle", ""),
        (b"\xff\xfe/bundle", ""),
        (b"", ""),
    ],
)
def test_a_key_of_no_form_is_named(rest: bytes, cluster: str) -> None:
    """Somebody else's key under our prefix is reported under the cluster that it lies in, if that can be read."""
    stray = LAYOUT.parse_key(LAYOUT.clusters + rest)
    assert isinstance(stray, StrayKey)
    assert stray.cluster == cluster
    assert len(stray.text) <= 4 * paths.MAX_KEY_BYTES


def test_another_federation_is_not_ours() -> None:
    assert isinstance(LAYOUT.parse_key(b"/isthmus/v1/other/clusters/west/bundle"), StrayKey)


def test_what_a_stranger_wrote_is_shown_harmlessly() -> None:
    """Keys end in logs and terminals, where control characters act."""
    stray = LAYOUT.parse_key(LAYOUT.clusters + b"west/\x1b[2J\xff\n")
    assert isinstance(stray, StrayKey)
    assert stray.text.isprintable()
    assert "\\x1b[2J" in stray.text


def test_virtual_ips_are_told_without_taking_a_key_apart() -> None:
    """Every member has as many of them as there are services, and they concern nobody else. A namespace that is called
    so is none."""
    vip = LAYOUT.key("west", paths.vip(PAY))
    assert LAYOUT.is_vip(vip)
    for path in (BUNDLE, paths.export(PAY), paths.export(ServiceName("vips", "pay")), paths.gateway("vips")):
        assert not LAYOUT.is_vip(LAYOUT.key("west", path))
    begin, end = LAYOUT.vips_after(LAYOUT.key("west", paths.export(PAY)))
    assert begin <= vip < end
    assert LAYOUT.vips_after(vip) == (begin, end)
    assert not begin <= LAYOUT.key("west-2", BUNDLE) < end
    assert paths.vouches(LAYOUT.key("west", BUNDLE))
    assert not paths.vouches(vip)
