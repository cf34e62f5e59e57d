"""The command, from its arguments to its exit status, against a status API and a DNS on real sockets."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from federation.status.event_values import EventsDocument
from federation.status.explain_values import ExplanationDocument
from federation.status.service_values import ServicesDocument
from federation.status.values import StatusDocument
from gateway.cli import main
from gateway.cli.event_feed import EventFeed
from gateway.cli.exit_codes import Failure
from gateway.cli.gateway_api import GatewayApi, split_host_port
from gateway.cli.resolve import Resolution
from gateway.status.addresses import Addresses, save_addresses
from tests.ports import free_port
from tests.status_documents import EVENTS, EXPLANATION, WEST, FakeSource
from tests.status_gateway import status_gateway

_VALID = "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\n"


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """A gateway with west ready and eu not; its URL."""
    with status_gateway(FakeSource()) as address:
        yield f"http://{address}"


def _config(directory: Path, text: str) -> str:
    path = directory / "cluster.yaml"
    path.write_text(text)
    return str(path)


# status


def test_status_is_a_table(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both peers are there with words, not colours, and nothing is on standard error."""
    assert main(["status", "--url", gateway]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines() if "ready  " in line] == ["eu", "west"]
    assert err == ""


def test_status_as_json_is_the_document_itself(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get what the API says, with nothing left out or added."""
    assert main(["status", "--url", gateway, "-o", "json"]) == 0
    document = msgspec.json.decode(capsys.readouterr().out, type=StatusDocument)
    assert document.peers == FakeSource().peers


def test_check_fails_while_a_peer_is_not_ready(gateway: str) -> None:
    """A script waits with `until isthmus status --check`."""
    assert main(["status", "--url", gateway, "--check"]) == 1


@pytest.mark.parametrize(("ready", "expected"), [(True, 0), (False, 1)])
def test_check_asks_for_this_gateway_too(ready: bool, expected: int) -> None:
    """Peers that are fine do not make up for a gateway that does not serve."""
    with status_gateway(FakeSource(ready=ready, peers=(WEST,))) as address:
        assert main(["status", "--url", f"http://{address}", "--check"]) == expected


def test_another_cluster_is_not_taken_for_ours(
    gateway: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two clusters of one machine that both say nothing of `status.listen` have the same address there. Who asks for
    west shall not be shown east, and be told of it; an order must not wait for a gateway that does not run."""
    config = tmp_path / "west.yaml"
    config.write_text(
        "federation: acme\ncluster: {name: west, trust_domain: west.acme.test}\n"
        f"status: {{listen: {gateway.removeprefix('http://')}}}\n"
    )
    for command in (["status"], ["trust", "status"], ["trust", "rotate"], ["events", "--follow"]):
        assert main([*command, "-c", str(config)]) == 3
        told = capsys.readouterr().err
        assert "is the status of cluster east, not of west: " in told
        assert "status.listen" in told


# services and resolve


def test_services(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each service, and the document for programs."""
    assert main(["services", "--url", gateway]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "SERVICE",
        "shop/cart",
        "shop/payments",
    ]
    assert main(["services", "--url", gateway, "-o", "json"]) == 0
    assert len(msgspec.json.decode(capsys.readouterr().out, type=ServicesDocument).services) == 2


# explain and events


@pytest.mark.parametrize(
    "name", ["shop/payments", "payments.shop", "payments.shop.svc.clusterset.local.", "Payments.Shop"]
)
def test_explain(gateway: str, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Every way to write a name leads to its explanation, whose first line says it all."""
    assert main(["explain", name, "--url", gateway, "--from", "east", "--port", "http"]) == 0
    assert capsys.readouterr().out.startswith("shop/payments: west gets 100 %: east has 0 of 2 healthy (tcp check")
    assert main(["explain", name, "--url", gateway, "-o", "json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=ExplanationDocument) == EXPLANATION


def test_explain_of_what_is_not_there(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A service nobody has is an answer; a peer nobody has and a name that is none are mistakes."""
    assert main(["explain", "cart.shop", "--url", gateway]) == 1
    assert "there is no service shop/cart" in capsys.readouterr().out
    assert main(["explain", "payments.shop", "--url", gateway, "--from", "mars"]) == 2
    assert "mars is no peer" in capsys.readouterr().err
    assert main(["explain", "payments", "--url", gateway]) == 2


def test_events(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each, and the document for programs; the filters reach the API."""
    assert main(["events", "--url", gateway]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[1:]] == ["endpoint-unhealthy", "ejected"]
    first = str(EVENTS[0].id)
    assert main(["events", "--url", gateway, "-o", "json", "--since", first, "--service", "payments.shop"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=EventsDocument).events == EVENTS[1:]
    assert main(["events", "--url", gateway, "--kind", "no-kind"]) == 2
    assert "there is no such kind" in capsys.readouterr().err
    assert main(["events", "--url", gateway, "--service", "payments"]) == 2
    assert "does not name a service" in capsys.readouterr().err


def test_following_starts_again_where_the_gateway_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """A restart of the controller neither ends it, nor shows anything twice."""
    source = FakeSource()
    with status_gateway(source) as address:
        told = iter(EventFeed(GatewayApi(*split_host_port(address), "advice"), "/v1/events", retry_s=0.01))
        assert [next(told), next(told)] == [*EVENTS]
        port = int(address.split(":")[1])
    later = msgspec.structs.replace(EVENTS[0], id=EVENTS[1].id + 5)
    source.told.append(later)
    with status_gateway(source, port):
        assert next(told) == later
    told.close()


def test_following_says_when_nobody_is_there() -> None:
    """Only what was there once is waited for."""
    with pytest.raises(Failure, match="advice"):
        next(iter(EventFeed(GatewayApi("127.0.0.1", free_port(), "advice"), "/v1/events")))


@pytest.mark.parametrize(
    "name", ["shop/cart", "cart.shop", "cart.shop.svc.clusterset.local.", "CART.shop.svc.clusterset.local"]
)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_resolve_asks_the_dns(gateway: str, capsys: pytest.CaptureFixture[str], name: str, transport: str) -> None:
    """Every way to write a name leads to its address and the port of each of its SRV records."""
    assert main(["resolve", name, "--url", gateway, "-o", "json", *(["--tcp"] if transport == "tcp" else [])]) == 0
    resolution = msgspec.json.decode(capsys.readouterr().out, type=Resolution)
    records = {(answer.name.partition(".")[0].lower(), answer.type): answer.records for answer in resolution.answers}
    assert records["cart", "A"] == ("127.80.0.7",)
    assert records["cart", "AAAA"] == ()
    assert records["_http", "SRV"][0].split()[2] == "80"
    assert records["_admin", "SRV"][0].split()[2] == "9000"
    assert resolution.transport == transport
    assert resolution.service is not None
    assert resolution.service.name == "cart"


@pytest.mark.parametrize(
    ("name", "only", "count"),
    [
        ("cart.shop", "A", 1),
        ("cart.shop", "AAAA", 0),
        ("cart.shop", "SRV", 2),
        ("_http._tcp.cart.shop.svc.clusterset.local", "SRV", 1),
        ("dns-version.clusterset.local", "txt", 1),
        ("clusterset.local.", "A", 0),
    ],
)
def test_resolve_one_type(gateway: str, capsys: pytest.CaptureFixture[str], name: str, only: str, count: int) -> None:
    """`--type` asks for nothing else; no record of it is a negative answer."""
    assert main(["resolve", name, "--type", only, "--url", gateway, "-o", "json"]) == (0 if count else 1)
    resolution = msgspec.json.decode(capsys.readouterr().out, type=Resolution)
    assert sum(len(answer.records) for answer in resolution.answers) == count
    assert {answer.type for answer in resolution.answers} == {only.upper()}


def test_resolve_of_nothing_exits_with_1(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    """NXDOMAIN is an answer, and it is no."""
    assert main(["resolve", "nope.shop", "--url", gateway]) == 1
    assert "NXDOMAIN" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Shop/x", "a/b/c", "x" * 64 + ".shop", "a..b"])
def test_resolve_of_what_is_no_name(gateway: str, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A mistyped name is the caller's error, not the gateway's answer."""
    assert main(["resolve", name, "--url", gateway]) == 2
    assert name in capsys.readouterr().err


# Finding the gateway


def test_the_configuration_says_where_the_gateway_is(tmp_path: Path, gateway: str) -> None:
    """A fixed port is in the file itself."""
    config = _config(tmp_path, _VALID + f'status: {{listen: "{gateway.removeprefix("http://")}"}}\n')
    assert main(["status", "-c", config]) == 0


def test_a_port_that_the_system_chose_is_in_the_state_directory(tmp_path: Path, gateway: str) -> None:
    """With port 0 only the running gateway knows."""
    config = _config(tmp_path, _VALID + 'state_dir: state\nstatus: {listen: "127.0.0.1:0"}\n')
    assert main(["status", "-c", config]) == 3
    (tmp_path / "state").mkdir()
    save_addresses(tmp_path / "state", Addresses(mesh="", http="", dns="", status=gateway.removeprefix("http://")))
    assert main(["status", "-c", config]) == 0


def test_a_wildcard_address_is_asked_on_loopback(tmp_path: Path, gateway: str) -> None:
    """Nobody can connect to 0.0.0.0 in general."""
    port = gateway.rpartition(":")[2]
    assert main(["status", "-c", _config(tmp_path, _VALID + f"status: {{listen: 0.0.0.0:{port}}}\n")]) == 0


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    """One line with what was asked, why it failed and what to do; status 3 tells it from a negative answer."""
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["status", "--url", url]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"isthmus status: no status from {url}: Connection refused; is the gateway running, and is this its "
        "status.listen?\n"
    )


@pytest.mark.parametrize("url", ["127.0.0.1:15000", "https://127.0.0.1", "http://", "http://a:b", "http://a/v1/status"])
def test_a_url_that_is_none(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """Refused before anything is asked."""
    assert main(["status", "--url", url]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "said", [b"220 mail.example ESMTP\r\n", b"HTTP/1.0 200 OK\r\n\r\n<html>", b"HTTP/1.0 503 Busy\r\n\r\nlater", b""]
)
def test_something_else_answers(capsys: pytest.CaptureFixture[str], said: bytes) -> None:
    """Another program at that address: one line and status 3, no traceback."""

    class Stranger(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1024)
            self.request.sendall(said)

    with socketserver.TCPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert main(["status", "--url", f"http://127.0.0.1:{server.server_address[1]}"]) == 3
        thread.join(5)
    assert capsys.readouterr().err.count("\n") == 1


# validate and run


def test_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good file is called good, in one line."""
    config = _config(tmp_path, _VALID)
    assert main(["validate", "-c", config]) == 0
    assert capsys.readouterr() == (f"{config} is valid: cluster east of federation acme, services: 0, peers: 0\n", "")


@pytest.mark.parametrize("command", ["validate", "run", "status", "services", "resolve"])
def test_a_bad_configuration_is_refused_line_by_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Every command names each mistake with its place, and exits with 2; run starts nothing."""
    config = _config(tmp_path, _VALID + "gatway: {}\nstatus: {listen: 127.0.0.1:99999}\n")
    name = ["payments.shop"] if command == "resolve" else []
    assert main([command, *name, "-c", config]) == 2
    err = capsys.readouterr().err
    assert 'cluster.yaml:3: gatway: unknown key; did you mean "gateway"?' in err
    assert "cluster.yaml:4: status.listen:" in err
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.yaml"]


def test_validate_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems as data, for editors and CI."""
    config = _config(tmp_path, _VALID + "gatway: {}\n")
    assert main(["validate", "-c", config, "-o", "json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["valid"], report["problems"][0]["line"], report["problems"][0]["path"]) == (False, 3, "gatway")


def test_run_says_in_one_line_why_it_cannot_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state directory that is taken away by a file's name, say: exit status 1, no traceback."""
    (tmp_path / "blocked").write_text("a file")
    config = _config(tmp_path, _VALID + "state_dir: blocked/east\n")
    assert main(["run", "-c", config]) == 1
    assert capsys.readouterr().err == (
        f"isthmus run: state_dir {tmp_path}/blocked/east cannot be made: Not a directory\n"
    )


# The command as a whole


@pytest.mark.parametrize(
    "argv", [[], ["frob"], ["status", "--url", "x", "-c", "y"], ["resolve"], ["status", "-o", "xml"]]
)
def test_a_wrong_command_line_exits_with_2(argv: list[str]) -> None:
    """As argparse does it, and every Unix tool."""
    with pytest.raises(SystemExit) as exit_info:
        main(argv)
    assert exit_info.value.code == 2


def test_help_lists_commands_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    """A person finds everything from `isthmus --help`."""
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for word in ("run", "validate", "status", "services", "resolve", "demo", "exit status"):
        assert word in text


def test_it_starts_with_nothing_that_is_slow() -> None:
    """Shell completion and scripts call it often: no command's libraries are loaded before it is named."""
    code = "import sys, gateway.cli.parser as p; p.make_parser(); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"trio", "pydantic", "cryptography", "starlette", "dns", "msgspec", "h2"} & set(loaded)


def test_a_reader_that_has_enough_is_no_error(gateway: str) -> None:
    """`isthmus services | head -1` ends quietly."""
    code = "import sys; from gateway.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "status", "--url", gateway], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), said) == (0, b"")
