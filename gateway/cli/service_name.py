"""A service as a person names it on the command line."""

from __future__ import annotations

from discovery.model import CLUSTERSET_ZONE, ServiceName, is_dns_label
from gateway.cli.exit_codes import USAGE, Failure

SERVICE_HELP = "payments.shop, shop/payments, or payments.shop.svc.clusterset.local"
_SUFFIX = f".svc.{CLUSTERSET_ZONE}"


def read_service_name(text: str) -> ServiceName:
    """`shop/payments`, `payments.shop`, or the whole DNS name with or without its last dot. Raises Failure."""
    namespace, slash, name = text.lower().partition("/")
    if not slash:
        name, _, namespace = text.lower().removesuffix(".").removesuffix(_SUFFIX).partition(".")
    if not is_dns_label(namespace) or not is_dns_label(name):
        raise Failure(USAGE, f"{text} does not name a service; write {SERVICE_HELP}")
    return ServiceName(namespace, name)
