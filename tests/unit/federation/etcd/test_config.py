"""What is refused before anything is dialled."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.etcd import EtcdConfig, EtcdError, open_etcd
from federation.etcd.config import parse_endpoint


def test_endpoints_are_urls_with_a_default_port() -> None:
    """As etcd's own tools write them; IPv6 addresses keep their brackets in :authority."""
    assert str(parse_endpoint("https://etcd-1")) == "https://etcd-1:2379"
    assert parse_endpoint("http://[::1]:4001/").authority == "[::1]:4001"
    assert parse_endpoint("http://[::1]").host == "::1"


@pytest.mark.parametrize(
    "url",
    ["", "etcd-1:2379", "ftp://etcd-1", "http://", "http://a:port", "http://a:99999", "http://a/v3", "http://u@a"],
)
def test_what_is_no_endpoint_is_named(url: str) -> None:
    """Nothing of a slip in the configuration may become an endless "cannot connect"."""
    with pytest.raises(EtcdError, match="is not an endpoint") as caught:
        parse_endpoint(url)
    assert caught.value.code == "bad_config"


async def test_unusable_files_are_refused_at_once(tmp_path: Path) -> None:
    """With the setting's name and the path."""
    missing, garbage = tmp_path / "missing.pem", tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    for config, words in (
        (EtcdConfig(endpoints=("https://a",), ca_file=str(missing)), "ca_file"),
        (EtcdConfig(endpoints=("https://a",), ca_file=str(garbage)), "ca_file"),
        (EtcdConfig(endpoints=("https://a",), cert_file=str(missing), key_file=str(missing)), "cert_file"),
        (EtcdConfig(endpoints=()), "no endpoints"),
    ):
        with pytest.raises(EtcdError, match=words) as caught:
            async with open_etcd(config):
                pass
        assert caught.value.code == "bad_config"


async def test_an_error_in_the_block_is_not_wrapped() -> None:
    """`except EtcdError` around `open_etcd` must work, although a nursery is inside."""
    with pytest.raises(LookupError):
        async with open_etcd(EtcdConfig(endpoints=("http://127.0.0.1:1",))):
            raise LookupError


def test_the_password_is_not_in_the_repr() -> None:
    """Configurations end up in logs."""
    config = EtcdConfig(endpoints=("http://a",), username="east", password="hunter2")
    assert "hunter2" not in repr(config) + str(config) + f"{[config]}"
    assert "east" in repr(config)
