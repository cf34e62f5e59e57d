"""`isthmus resolve`: asks the running gateway's DNS over the network, as a workload would."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import msgspec

from discovery.model import CLUSTERSET_ZONE, ServiceName, is_dns_label
from federation.status.service_values import ServiceDocument
from federation.status.values import StatusDocument
from gateway.cli.exit_codes import NEGATIVE, OK, UNREACHABLE, USAGE, Failure
from gateway.cli.gateway_api import GatewayApi, find_gateway, reachable_host, split_host_port
from gateway.cli.services import format_share

_TIMEOUT_S = 5.0
_SUFFIX = f".svc.{CLUSTERSET_ZONE}"


class Answer(msgspec.Struct, frozen=True):
    """What the DNS said to one question. `records` are in the text form of zone files (RFC 1035 section 5)."""

    name: str
    type: str
    rcode: str
    ttl_s: int | None
    records: tuple[str, ...]


class Resolution(msgspec.Struct, frozen=True):
    """What `-o json` prints."""

    name: str
    server: str
    transport: str
    found: bool
    answers: tuple[Answer, ...]
    service: ServiceDocument | None


def execute(arguments: argparse.Namespace) -> int:
    name = whole_name(arguments.name)
    api = find_gateway(arguments)
    service = _find_service(api, name)
    server = Server(*_dns_address(api), tcp=arguments.tcp)
    answers = tuple(server.ask(*question) for question in _questions(name, arguments.type, service))
    resolution = Resolution(
        name=name,
        server=str(server),
        transport="tcp" if arguments.tcp else "udp",
        found=any(answer.records for answer in answers),
        answers=answers,
        service=service,
    )
    if arguments.output == "json":
        print(msgspec.json.format(msgspec.json.encode(resolution)).decode())
    else:
        sys.stdout.write(format_resolution(resolution))
    return OK if resolution.found else NEGATIVE


def whole_name(text: str) -> str:
    """The DNS name that a person means: `shop/payments` and `payments.shop` are short for a service's; a dot at
    the end makes any name whole. Raises Failure."""
    namespace, slash, service = text.partition("/")
    if slash:
        if not is_dns_label(namespace) or not is_dns_label(service):
            raise Failure(USAGE, f"{text} is not namespace/name")
        return ServiceName(namespace, service).fqdn
    name = text.removesuffix(".")
    try:
        dns.name.from_text(name)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise Failure(USAGE, f"{text} is not a DNS name: {error}") from None
    is_short = name.count(".") == 1 and not text.endswith(".")
    return name + _SUFFIX if is_short else name


def service_of(name: str) -> ServiceName | None:
    """The service that a name in the clusterset's zone belongs to, also by its ports and its hosts."""
    labels = name.lower().removesuffix(_SUFFIX).split(".")
    if not name.lower().endswith(_SUFFIX) or len(labels) < 2:
        return None
    return ServiceName(labels[-1], labels[-2])


def _find_service(api: GatewayApi, name: str) -> ServiceDocument | None:
    service = service_of(name)
    if service is None or not (is_dns_label(service.namespace) and is_dns_label(service.name)):
        return None
    return api.find(f"/v1/services/{service.namespace}/{service.name}", ServiceDocument)


def _dns_address(api: GatewayApi) -> tuple[str, int]:
    status = api.read(api.get("/v1/status"), StatusDocument)
    for listener in status.listeners:
        if listener.kind == "dns-udp":
            host, port = split_host_port(listener.address)
            return (api.host if reachable_host(host) != host else host), port
    raise Failure(UNREACHABLE, f"the gateway at {api} does not listen for DNS")


def _questions(name: str, only: str | None, service: ServiceDocument | None) -> Iterator[tuple[str, str]]:
    """What to ask: for a service as a whole, its addresses and each port's SRV record."""
    is_service = service is not None and name.lower() == service.dns_name
    for qtype in (only,) if only is not None else ("A", "AAAA"):
        if qtype != "SRV" or not is_service:
            yield name, qtype
    if service is not None and is_service and only in (None, "SRV"):
        for port in service.ports:
            yield f"_{port.name}._tcp.{service.dns_name}", "SRV"


class Server:
    """A DNS server, asked over UDP (then over TCP, should an answer be too long) or TCP only."""

    def __init__(self, host: str, port: int, *, tcp: bool) -> None:
        self._host = host
        self._port = port
        self._tcp = tcp

    def __str__(self) -> str:
        return f"{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"

    def ask(self, name: str, qtype: str) -> Answer:
        """Raises Failure when there is no usable answer."""
        query = dns.message.make_query(name, qtype)
        try:
            if self._tcp:
                reply = dns.query.tcp(query, self._host, _TIMEOUT_S, self._port)
            else:
                reply, _ = dns.query.udp_with_fallback(query, self._host, _TIMEOUT_S, self._port)
        except (OSError, dns.exception.DNSException) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Failure(UNREACHABLE, f"the DNS at {self} did not answer for {name} {qtype}: {reason}") from None
        return _read(name, qtype, reply)


def _read(name: str, qtype: str, reply: dns.message.Message) -> Answer:
    wanted = dns.rdatatype.from_text(qtype)
    sets = [rrset for rrset in reply.answer if rrset.rdtype == wanted]
    return Answer(
        name=name,
        type=qtype,
        rcode=dns.rcode.to_text(reply.rcode()),
        ttl_s=min((rrset.ttl for rrset in sets), default=None),
        records=tuple(str(record) for rrset in sets for record in rrset),
    )


def format_resolution(resolution: Resolution) -> str:
    lines = [f"{resolution.name}, as the DNS at {resolution.server} says over {resolution.transport}:"]
    lines += [f"  {line}" for answer in resolution.answers for line in _format_answer(answer)]
    if not resolution.found and {answer.rcode for answer in resolution.answers} == {"NXDOMAIN"}:
        lines.append("  no such name: no cluster exports such a service to this one")
    if resolution.service is not None:
        lines.append("served by:")
        lines += [f"  {format_share(share)}" for share in resolution.service.clusters]
    return "".join(f"{line}\n" for line in lines)


def _format_answer(answer: Answer) -> Sequence[str]:
    """Each record as it is; why there is none, unless that is usual (a service with IPv4 addresses only)."""
    if answer.records:
        return [
            f"{answer.type:<5} {_format_record(answer, record)}  (ttl {answer.ttl_s} s)" for record in answer.records
        ]
    if answer.rcode == "NOERROR":
        return [f"{answer.type:<5} none"]
    return [f"{answer.type:<5} {answer.rcode}"]


def _format_record(answer: Answer, record: str) -> str:
    if answer.type != "SRV":
        return record
    _, _, port, target = record.split()
    return f"{answer.name.partition('.')[0].removeprefix('_')}: port {port} of {target}"
