"""One cluster.yaml, read again and again."""

from __future__ import annotations

from pathlib import Path

from gateway.config import Config, ConfigReader, load_config

BEGINNING = """\
federation: acme
cluster: {name: east, trust_domain: east.acme.test}
services:
"""


def service(name: str, port: int = 9001, more: str = "") -> str:
    return (
        f"- namespace: shop\n  name: {name}\n  ports: [{{name: http, port: 80}}]\n"
        f"  endpoints: [{{address: 127.0.0.1, port: {port}}}]\n{more}"
    )


def read(reader: ConfigReader, *services: str) -> Config:
    return reader.parse(BEGINNING + "".join(services)).require()


def test_a_service_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    """The same text in the same file says the same, so what it was found to be is used."""
    reader = ConfigReader(tmp_path / "cluster.yaml")
    before = read(reader, service("payments"), service("ledger"))
    after = read(reader, service("payments", 9002), service("ledger"))
    assert after.services[1] is before.services[1]
    assert [s.endpoints[0].port for s in after.services] == [9002, 9001]


def test_it_reads_what_a_first_reading_would(tmp_path: Path) -> None:
    """Entries come, go, move and change; paths in them start from the file's directory."""
    path = tmp_path / "cluster.yaml"
    (tmp_path / "ca.pem").write_text("not looked at")
    reader = ConfigReader(path)
    tls = service("ledger", more="  tls: {ca_file: ca.pem}\n")
    for services in (
        [service("payments"), tls],
        [tls, service("payments"), service("stock")],
        [service("stock", 9004)],
        [],
        [tls],
    ):
        path.write_text(BEGINNING.replace("services:\n", "services:\n" if services else "") + "".join(services))
        assert reader.validate().require() == load_config(path)


def test_what_is_wrong_is_found_beside_what_is_known(tmp_path: Path) -> None:
    """In an entry, between entries, and in a value that is missing: each on its line, every time."""
    reader = ConfigReader(tmp_path / "cluster.yaml")
    good = service("payments")
    read(reader, good)
    for wrong, line, path in (
        (service("ledger", 0), 11, "services[1].endpoints[0].port"),
        (service("ledger", more="  export:\n"), 12, "services[1].export"),
        (good, 8, "services[1]"),
    ):
        for _ in range(2):
            errors = reader.parse(BEGINNING + good + wrong).errors
            assert [(error.line, error.path) for error in errors] == [(line, path)]
    assert len(read(reader, good).services) == 1
