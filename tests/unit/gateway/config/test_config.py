"""What a good cluster.yaml becomes, and the files around it."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import pytest

from discovery.address import HostPort
from discovery.model import Endpoint, HealthCheck, Locality, LocalService, Port, Protocol, ServiceName
from gateway.config import Config, ConfigError, load_config, parse_config, validate_config

_MINIMAL = "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\n"
_WHOLE = """
federation: acme
cluster: {name: east, region: us-east, zone: us-east-1a, trust_domain: east.acme.test}
state_dir: ../state
etcd:
  endpoints: [https://etcd-1:2379/, "https://[::1]:2379"]
  prefix: /mesh/isthmus
  ca_file: tls/ca.crt
  cert_file: tls/east.crt
  key_file: /run/secrets/east.key
peers:
  west: {trust_domain: west.acme.test, root: "SHA256:ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB"}
gateway:
  workers: 4
  mesh: 0.0.0.0:15443
  advertise: [GW.east.acme.test:15443, "[2001:db8::1]:15443"]
  http: "[::1]:0"
  vip_range: 2001:db8:1::/64
  http2_codec: h2
  drain_timeout: 1m
dns: {listen: 127.0.0.1:53, ttl: 0s}
status: {listen: 0.0.0.0:15000}
services:
- namespace: shop
  name: payments
  ports: [{name: http, port: 80, protocol: http}, {name: admin, port: 81}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: 9001, admin: 9002}, zone: us-east-1a, hostname: payments-0}
  health: {http: /healthz, interval: 0.5s, timeout: 250ms, rise: 1, fall: 5}
  export: {to: [west]}
- {namespace: shop, name: ledger, ports: [{name: tcp, port: 5432}], endpoints: [{address: "::1", port: 5433}]}
imports: {from: {west: ["shop/*", "*/pay*"]}}
failover: {order: [us-east, west]}
freshness: {stale_after: 10s, withdraw_after: 1h}
trust: {svid_lifetime: 24h}
"""


def _parsed(text: str, path: Path = Path("/etc/isthmus/cluster.yaml")) -> Config:
    return parse_config(text, path).require()


def test_two_names_are_enough() -> None:
    """Every other field has a default that is safe: nothing listens beyond this machine that the user did not name."""
    config = _parsed(_MINIMAL)
    assert config.state_dir == Path("/etc/isthmus/state/east")
    assert config.etcd is None
    assert config.gateway.mesh is None
    listeners = [config.gateway.http, config.dns.listen, config.status.listen]
    assert listeners == [("127.0.0.1", 15080), ("127.0.0.1", 15053), ("127.0.0.1", 15000)]
    assert all(address.is_loopback for address in listeners)
    assert config.gateway.vip_range == ipaddress.ip_network("127.80.0.0/16")
    assert (config.gateway.workers, config.gateway.http2_codec, config.gateway.drain_timeout_s) == ("auto", "auto", 30)
    assert (config.dns.ttl_s, config.trust.svid_lifetime_s) == (5.0, 3600.0)
    assert (config.freshness.stale_after_s, config.freshness.withdraw_after_s) == (30.0, 86400.0)
    assert (config.peers, config.services, config.imports.from_, config.failover.order) == ({}, (), None, ())
    assert config.cluster.locality == Locality()


def test_every_key_is_read() -> None:
    """A key that is accepted and then ignored would be worse than one that is refused."""
    config = _parsed(_WHOLE)
    assert config.cluster.locality == Locality("us-east", "us-east-1a")
    assert config.state_dir == Path("/etc/isthmus/../state")
    assert config.etcd is not None
    assert config.etcd.endpoints == ("https://etcd-1:2379", "https://[::1]:2379")
    assert config.etcd.prefix == "/mesh/isthmus"
    assert (config.etcd.ca_file, config.etcd.key_file) == (
        Path("/etc/isthmus/tls/ca.crt"),
        Path("/run/secrets/east.key"),
    )
    assert config.peers["west"].trust_domain == "west.acme.test"
    assert config.peers["west"].root == "sha256:" + "ab" * 32
    gateway = config.gateway
    assert (gateway.workers, gateway.http2_codec, gateway.drain_timeout_s) == (4, "h2", 60.0)
    assert (gateway.mesh, gateway.http) == (HostPort("0.0.0.0", 15443), HostPort("::1", 0))
    assert gateway.vip_range == ipaddress.ip_network("2001:db8:1::/64")
    assert (config.dns.listen, config.dns.ttl_s, config.status.listen) == (
        ("127.0.0.1", 53),
        0.0,
        ("0.0.0.0", 15000),
    )
    assert config.imports.from_ == {"west": ("shop/*", "*/pay*")}
    assert config.failover.order == ("us-east", "west")
    assert (config.freshness.stale_after_s, config.freshness.withdraw_after_s) == (10.0, 3600.0)
    assert config.trust.svid_lifetime_s == 86400.0


def test_services_become_the_model() -> None:
    """The static source is one of several: the rest of the gateway sees the model only."""
    payments, ledger = _parsed(_WHOLE).local_services()
    assert payments == LocalService(
        name=ServiceName("shop", "payments"),
        ports=(Port("http", 80, Protocol.HTTP), Port("admin", 81, Protocol.TCP)),
        endpoints=(Endpoint("127.0.0.1", {"http": 9001, "admin": 9002}, "us-east-1a", "payments-0"),),
        health=HealthCheck("/healthz", 0.5, 0.25, 1, 5),
        export_to=("west",),
    )
    assert ledger.endpoints == (Endpoint("::1", {"tcp": 5433}),)
    assert ledger.export_to == (), "nothing is exported that does not say so"
    assert ledger.health == HealthCheck(), "failure detection is on by default"


def test_advertised_is_what_listens_unless_it_is_given() -> None:
    """Behind a wildcard or an address translation only the user knows; a specific address speaks for itself."""
    bound = HostPort("10.0.0.1", 40123)
    assert _parsed(_WHOLE).gateway.advertised(bound) == (
        ("gw.east.acme.test", 15443),
        ("2001:db8::1", 15443),
    )
    assert _parsed(_MINIMAL + "gateway: {mesh: 10.0.0.1:0}\n").gateway.advertised(bound) == (bound,)


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is really called `~` surprises whoever finds it."""
    monkeypatch.setenv("HOME", "/home/ann")
    assert _parsed(_MINIMAL + "state_dir: ~/isthmus\n").state_dir == Path("/home/ann/isthmus")


def test_an_anchor_may_be_repeated() -> None:
    """Aliases are how people avoid saying a thing twice; only their expansion is bounded."""
    config = _parsed(
        _MINIMAL
        + "services:\n"
        + "- {namespace: a, name: x, ports: &web [{name: http, port: 80}], endpoints: []}\n"
        + "- {namespace: b, name: x, ports: *web}\n"
    )
    assert config.services[0].ports == config.services[1].ports


def test_a_warning_does_not_refuse() -> None:
    """An export may be written before its peer has joined; `isthmus validate` says so."""
    text = _MINIMAL + "services: [{namespace: shop, name: a, ports: [{name: http, port: 80}], export: {to: [west]}}]\n"
    validation = parse_config(text, Path("cluster.yaml"))
    assert validation.config is not None
    assert validation.errors == ()
    assert [problem.path for problem in validation.problems if problem.warning] == [
        "gateway.mesh",
        "services[0]",
        "services[0].export.to[0]",
    ]


def test_load_raises_all_problems_at_once(tmp_path: Path) -> None:
    """One run, one list: nobody likes to fix a file one message at a time."""
    path = tmp_path / "cluster.yaml"
    path.write_text(_MINIMAL + "dns: {ttl: soon}\ngatewy: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [(3, "dns.ttl"), (4, "gatewy")]
    assert str(caught.value).splitlines()[1] == f'{path}:4: gatewy: unknown key; did you mean "gateway"?'


def test_a_flood_of_problems_is_cut() -> None:
    """A file of the wrong kind earns a page of messages, not ten thousand."""
    text = _MINIMAL + "".join(f"key{number}: 1\n" for number in range(200))
    with pytest.raises(ConfigError) as caught:
        parse_config(text, Path("cluster.yaml")).require()
    assert len(caught.value.problems) == 200
    assert str(caught.value).endswith("\nand 150 more problems")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"federation: \xff\n", "not UTF-8 text (line 1 has byte 0xff)"),
        (b"# " + b"x" * (4 * 1024 * 1024), "larger than 4 MiB"),
    ],
)
def test_a_file_that_is_no_text_or_too_large(tmp_path: Path, content: bytes, message: str) -> None:
    """Whatever is given by mistake (a database, an archive) is answered in one line."""
    path = tmp_path / "cluster.yaml"
    path.write_bytes(content)
    assert [str(problem) for problem in validate_config(path).problems] == [f"{path}: {message}"]


def test_a_file_that_is_missing_or_a_directory(tmp_path: Path) -> None:
    """The message has the path as the user gave it."""
    missing = tmp_path / "cluster.yml"
    assert [str(problem) for problem in validate_config(missing).problems] == [
        f"{missing}: can't be read: no such file or directory"
    ]
    assert [str(problem) for problem in validate_config(tmp_path).problems] == [
        f"{tmp_path}: can't be read: is a directory"
    ]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """Windows editors write one; it is not part of the first key."""
    path = tmp_path / "cluster.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + _MINIMAL.encode())
    assert load_config(path).federation == "acme"


def _with_files(directory: Path) -> Path:
    path = directory / "cluster.yaml"
    path.write_text(
        _MINIMAL
        + "state_dir: state\n"
        + "etcd:\n  endpoints: [https://etcd-1:2379]\n  ca_file: ca.crt\n  cert_file: east.crt\n  key_file: east.key\n"
        + "  username: east\n  password_file: password\n"
    )
    for name, mode in (("ca.crt", 0o644), ("east.crt", 0o644), ("east.key", 0o600), ("password", 0o640)):
        (directory / name).touch()
        (directory / name).chmod(mode)
    return path


def test_files_that_are_as_they_should_be(tmp_path: Path) -> None:
    """Certificates may be public, secrets may be the group's (a mounted secret of Kubernetes is)."""
    assert validate_config(_with_files(tmp_path)).problems == ()


def test_files_that_are_missing_or_no_files(tmp_path: Path) -> None:
    """Found before anything starts, each with the whole path. A FIFO would block whoever opens it."""
    path = _with_files(tmp_path)
    (tmp_path / "ca.crt").unlink()
    (tmp_path / "east.crt").unlink()
    (tmp_path / "east.crt").mkdir()
    (tmp_path / "east.key").unlink()
    os.mkfifo(tmp_path / "east.key", 0o600)
    (tmp_path / "state").touch()
    assert [str(problem).removeprefix(f"{path}:") for problem in validate_config(path).problems] == [
        f"3: state_dir: {tmp_path}/state is not a directory; expected a directory, made if it is missing",
        f"6: etcd.ca_file: {tmp_path}/ca.crt can't be read: no such file or directory; "
        "expected a file that this user can read",
        f"7: etcd.cert_file: {tmp_path}/east.crt is not a file; expected a file that this user can read",
        f"8: etcd.key_file: {tmp_path}/east.key is not a file; expected a file that this user can read",
    ]


def test_files_of_a_peers_etcd_are_looked_at_too(tmp_path: Path) -> None:
    """They come from another owner, who may have sent them by mail."""
    path = tmp_path / "cluster.yaml"
    path.write_text(
        _MINIMAL
        + "peers:\n  west:\n    trust_domain: west.acme.test\n"
        + f"    root: sha256:{'ab' * 32}\n"
        + "    etcd: {endpoints: [https://etcd-1:2379], username: reader, password_file: password}\n"
    )
    (tmp_path / "password").touch()
    (tmp_path / "password").chmod(0o644)
    (problem,) = validate_config(path).problems
    assert problem.path == "peers.west.etcd.password_file"
    (tmp_path / "password").chmod(0o600)
    west = load_config(path).peers["west"]
    assert west.etcd is not None
    assert west.etcd.prefix == "/isthmus"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_files_that_this_user_cannot_read(tmp_path: Path) -> None:
    """A key of another user is the commonest reason for a start that fails."""
    path = _with_files(tmp_path)
    (tmp_path / "east.key").chmod(0o000)
    [problem] = validate_config(path).problems
    assert (problem.path, problem.message) == ("etcd.key_file", f"{tmp_path}/east.key can't be read: permission denied")


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o777])
def test_secrets_that_others_can_read_or_write(tmp_path: Path, mode: int) -> None:
    """A key that every user of the machine can read is no secret any more."""
    path = _with_files(tmp_path)
    (tmp_path / "east.key").chmod(mode)
    (tmp_path / "password").chmod(mode)
    problems = validate_config(path).errors
    assert [problem.path for problem in problems] == ["etcd.key_file", "etcd.password_file"]
    assert f"(mode {mode:04o}); expected mode 0600: chmod 600 it" in str(problems[0])
