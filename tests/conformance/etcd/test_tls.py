"""TLS with client certificates at a real etcd, and what is said when it does not work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trustme

from federation.etcd import EtcdClient, EtcdConfig, EtcdError, open_etcd
from tests.etcd_server import EtcdServer, run_etcd


class Certificates:
    """An authority with a server's and a client's certificate, and a stranger's authority with a client's."""

    def __init__(self, directory: Path) -> None:
        ca, stranger = trustme.CA(), trustme.CA()
        self.directory = directory
        ca.cert_pem.write_to_path(str(directory / "ca.pem"))
        stranger.cert_pem.write_to_path(str(directory / "stranger-ca.pem"))
        self._write("server", ca.issue_cert("127.0.0.1", "localhost"))
        self._write("client", ca.issue_cert("east.test", common_name="east"))
        self._write("stranger", stranger.issue_cert("east.test", common_name="east"))

    def path(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def _write(self, name: str, leaf: trustme.LeafCert) -> None:
        leaf.private_key_pem.write_to_path(str(self.path(f"{name}-key")))
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(str(self.path(name)), append=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    files = (certificates.path("server"), certificates.path("server-key"), certificates.path("ca"))
    with run_etcd(tmp_path_factory.mktemp("tls") / "etcd", client_tls=files) as server:
        yield server


def config(server: EtcdServer, certificates: Certificates, *, ca: str = "ca", client: str = "client") -> EtcdConfig:
    return EtcdConfig(
        endpoints=(server.endpoint,),
        ca_file=str(certificates.path(ca)),
        cert_file=str(certificates.path(client)) if client else "",
        key_file=str(certificates.path(f"{client}-key")) if client else "",
    )


async def refusal(client: EtcdClient) -> str:
    """The text of the error that calls end with, once the endpoint has been tried."""
    with trio.fail_after(20), pytest.raises(EtcdError) as caught:
        await client.get(b"a")
    assert caught.value.code == "unavailable"
    return str(caught.value)


async def test_a_client_certificate_opens_the_connection(tls_server: EtcdServer, certificates: Certificates) -> None:
    """Mutual TLS, with a message larger than a TLS record both ways."""
    async with open_etcd(config(tls_server, certificates)) as client:
        await client.put(b"/a", bytes(300_000))
        found = await client.get(b"/a")
        assert found is not None
        assert len(found.value) == 300_000
        async with client.watch(b"/a", start_revision=found.mod_revision) as watch:
            with trio.fail_after(20):
                assert len((await watch.__anext__()).events) == 1
        assert client.statistics().open_streams == 0


async def test_a_server_of_another_authority_is_refused(tls_server: EtcdServer, certificates: Certificates) -> None:
    """The error names the file that it was verified against."""
    async with open_etcd(config(tls_server, certificates, ca="stranger-ca")) as client:
        text = await refusal(client)
        assert "stranger-ca.pem" in text
        assert "certificate is refused" in text
        assert text.endswith("stranger-ca.pem')")
        assert client.endpoints[0].error in text
        assert not client.connected


async def test_a_missing_client_certificate_is_said(tls_server: EtcdServer, certificates: Certificates) -> None:
    """TLS 1.3 tells it only after the handshake, as a broken connection."""
    async with open_etcd(config(tls_server, certificates, client="")) as client:
        assert "set etcd.cert_file" in await refusal(client)


async def test_a_strangers_client_certificate_is_said(tls_server: EtcdServer, certificates: Certificates) -> None:
    """etcd refuses it; the operator must hear that it is ours that is wrong."""
    async with open_etcd(config(tls_server, certificates, client="stranger")) as client:
        assert "refuses our client certificate" in await refusal(client)


async def test_plain_http_to_a_tls_server_is_said(tls_server: EtcdServer) -> None:
    """The most common slip in a configuration."""
    async with open_etcd(EtcdConfig(endpoints=(f"http://127.0.0.1:{tls_server.port}",))) as client:
        assert "https://" in await refusal(client)


async def test_tls_to_a_plain_server_is_said(shared_etcd: EtcdServer, certificates: Certificates) -> None:
    """And the other way round."""
    plain = EtcdConfig(endpoints=(f"https://127.0.0.1:{shared_etcd.port}",), ca_file=str(certificates.path("ca")))
    async with open_etcd(plain) as client:
        text = await refusal(client)
        assert "http://" in text
        assert "does not speak TLS" in text


async def test_renewed_files_are_used_by_the_next_connection(
    tls_server: EtcdServer, certificates: Certificates, tmp_path: Path
) -> None:
    """Client certificates are short-lived where they are renewed by a tool; that needs no restart of ours."""
    used = Certificates(tmp_path)
    async with open_etcd(config(tls_server, used)) as client:
        await refusal(client)
        for name in ("ca", "client", "client-key"):
            used.path(name).write_bytes(certificates.path(name).read_bytes())
        with trio.fail_after(20):
            await client.wait_connected()
        await client.get(b"/a")
