"""`isthmus services`: what this cluster may use, and who serves it."""

from __future__ import annotations

import argparse
import sys

import msgspec

from federation.status.service_values import ServiceDocument, ServicesDocument, ShareDocument
from gateway.cli.exit_codes import OK
from gateway.cli.gateway_api import find_gateway
from gateway.cli.table import format_table

_HEADS = ("SERVICE", "STATUS", "VIP", "PORTS", "CLUSTERS", "EXPORTED TO", "CONFLICTS")


def execute(arguments: argparse.Namespace) -> int:
    api = find_gateway(arguments)
    body = api.get("/v1/services")
    if arguments.output == "json":
        print(msgspec.json.format(body).decode())
    else:
        sys.stdout.write(format_services(api.read(body, ServicesDocument)))
    return OK


def format_services(document: ServicesDocument) -> str:
    if not document.services:
        return f"cluster {document.cluster} has no services of its own, and none are exported to it\n"
    return format_table(_HEADS, (_row(service) for service in document.services))


def _row(service: ServiceDocument) -> tuple[str, ...]:
    return (
        f"{service.namespace}/{service.name}",
        "reachable" if service.reachable else "not reachable",
        service.vip,
        ",".join(f"{port.name}:{port.port}/{port.protocol}" for port in service.ports),
        ", ".join(format_share(share) for share in service.clusters),
        ",".join(service.exported_to),
        ",".join(sorted({conflict.reason for conflict in service.conflicts})),
    )


def format_share(share: ShareDocument) -> str:
    """`west 2/2` with what keeps it from being used like any other."""
    name = f"{share.cluster} (here)" if share.local else share.cluster
    health = "" if share.total is None else f" {share.healthy}/{share.total}"
    notes = ["" if share.freshness == "fresh" else share.freshness, "" if share.reachable else "not reachable"]
    note = ", ".join(note for note in notes if note)
    return f"{name}{health}" + (f" [{note}]" if note else "")
