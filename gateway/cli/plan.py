"""`isthmus plan`: what a changed configuration would add, change and remove, before it is applied."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import msgspec

from discovery.model import ServiceName
from federation.status.service_values import ServicesDocument
from federation.status.values import ConfigurationDocument
from gateway.cli.config_file import load_or_fail
from gateway.cli.exit_codes import NEGATIVE, OK
from gateway.cli.gateway_api import GatewayApi, find_gateway
from gateway.cli.table import printable
from gateway.config import Config
from gateway.config.plan import Change, State, diff
from gateway.config.plan_state import catalog_state, config_state, kept_catalog, names_state, own_names

_MARKS = {"add": "+", "change": "~", "remove": "-"}


class Plan(msgspec.Struct, frozen=True):
    """What `-o json` prints. `restart` names what takes effect only when the gateway is started again; `note` says
    what can't be known."""

    against: str
    changes: tuple[Change, ...]
    restart: tuple[str, ...]
    note: str = ""


def execute(arguments: argparse.Namespace) -> int:
    config = load_or_fail(Path(arguments.config))
    plan = _make_plan(config, arguments)
    if arguments.output == "json":
        print(msgspec.json.format(msgspec.json.encode(plan)).decode())
    else:
        print(format_plan(plan), end="")
    return NEGATIVE if plan.changes else OK


def _make_plan(config: Config, arguments: argparse.Namespace) -> Plan:
    against = arguments.against
    if against is not None and "://" not in against:
        old = load_or_fail(Path(against))
        return _plan(against, _alone(old), _alone(config))
    # The name may be what is planned to change.
    running = find_gateway(argparse.Namespace(url=against, config=arguments.config), of_any_cluster=True)
    return _against_gateway(config, running)


def _alone(config: Config) -> State:
    """A configuration without a gateway that runs it."""
    return {**config_state(config), **names_state(own_names(config), str(config.gateway.vip_range), {})}


def _against_gateway(config: Config, api: GatewayApi) -> Plan:
    running = api.read(api.get("/v1/configuration"), ConfigurationDocument)
    services = api.read(api.get("/v1/services"), ServicesDocument)
    before: State = {(item.kind, item.name): item.facts for item in running.items}
    known = {ServiceName(s.namespace, s.name): s.vip for s in services.services if s.vip}
    kept = kept_catalog(config, before, services.services)
    names = own_names(config) | {ServiceName(s.namespace, s.name) for s in kept}
    after = {
        **config_state(config),
        **catalog_state(config.cluster.name, kept),
        **names_state(names, str(config.gateway.vip_range), known),
    }
    before = {**before, **catalog_state(services.cluster, services.services)}
    return _plan(str(api), before, after, _note(before, after))


def _note(before: State, after: Mapping[tuple[str, str], Mapping[str, str]]) -> str:
    """A wider view of others can't be foretold."""
    wider = [name for kind, name in after if kind == "peer" and before.get((kind, name)) != after[kind, name]]
    if wider:
        return f"what {', '.join(wider)} exports to this cluster is known only once it is a peer"
    return ""


def _plan(against: str, before: State, after: State, note: str = "") -> Plan:
    changes = diff(before, after)
    return Plan(against, changes, tuple(change.name for change in changes if change.restart), note)


def format_plan(plan: Plan) -> str:
    """A line for each change, then the sum."""
    if not plan.changes:
        return f"nothing changes against {plan.against}\n"
    width = max(len(change.kind) for change in plan.changes)
    lines = [_format_change(change, width) for change in plan.changes]
    counts = {action: sum(change.action == action for change in plan.changes) for action in _MARKS}
    lines.append(f"{counts['add']} to add, {counts['change']} to change, {counts['remove']} to remove")
    if plan.restart:
        lines.append(f"needs a restart of the gateway: {', '.join(plan.restart)}")
    if plan.note:
        lines.append(plan.note)
    return "".join(f"{printable(line) if not line.startswith(' ') else line}\n" for line in lines)


def _format_change(change: Change, width: int) -> str:
    facts = "; ".join(_format_fact(change, name) for name in {**change.before, **change.after})
    return "  " + printable(f"{_MARKS[change.action]} {change.kind:<{width}}  {change.name}  {facts}")


def _format_fact(change: Change, name: str) -> str:
    before, after = change.before.get(name), change.after.get(name)
    label = "" if name == "value" else f"{name} "
    if change.action == "change":
        return f"{label}{before or 'none'} -> {after or 'none'}"
    return f"{label}{after if before is None else before}"
