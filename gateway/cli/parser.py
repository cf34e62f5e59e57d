"""The command line's grammar."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

_EPILOG = """\
exit status:
  0    yes
  1    no: not ready, no such name; for plan: something changes; for run: it could not start
  2    the command line or the configuration is wrong
  3    the gateway can't be asked
"""
_LOG_LEVELS = ("debug", "info", "warning", "error")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isthmus",
        description="A multi-cluster mesh federation gateway.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_init(commands)
    _add_run(commands)
    _add_upgrade(commands)
    _add_validate(commands)
    _add_plan(commands)
    _add_status(commands)
    _add_services(commands)
    _add_resolve(commands)
    _add_explain(commands)
    _add_events(commands)
    _add_invite(commands)
    _add_join(commands)
    _add_accept(commands)
    _add_leave(commands)
    _add_trust(commands)
    _add_demo(commands)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for, which takes longer than the rest of the start."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> None:
        from gateway.version import VERSION, compiled

        print(f"isthmus {VERSION} ({'compiled' if compiled() else 'interpreted'})")
        parser.exit()


def _add_init(commands: Any) -> None:
    command = commands.add_parser(
        "init",
        help="write a first configuration and make the trust root",
        description="Write a commented cluster.yaml, make its state directory and the cluster's trust root. "
        "Nothing that is there is overwritten.",
    )
    command.add_argument("name", metavar="NAME", help="the cluster's name, unique in the federation, like east")
    command.add_argument("--federation", default="isthmus", metavar="NAME", help="the federation's name (isthmus)")
    command.add_argument(
        "--trust-domain", default="", metavar="DOMAIN", help="the SPIFFE trust domain (NAME.FEDERATION.internal)"
    )
    command.add_argument("--region", default="", metavar="REGION", help="where the cluster is, for locality")
    command.add_argument(
        "--etcd", action="append", default=[], metavar="URL", help="an etcd endpoint, repeatable (a private etcd)"
    )
    command.add_argument(
        "--mesh", default="", metavar="HOST:PORT", help="where to listen for peers' gateways, like 10.0.0.1:15443"
    )
    command.add_argument(
        "--advertise", default="", metavar="HOST:PORT", help="where peers reach it, if that is not --mesh itself"
    )
    command.add_argument("-d", "--directory", default=".", metavar="DIR", help="where to write cluster.yaml (here)")


def _add_run(commands: Any) -> None:
    command = commands.add_parser(
        "run", help="run this cluster's gateway", description="Run this cluster's gateway until SIGTERM or Ctrl-C."
    )
    _add_config(command)
    command.add_argument("--log-level", choices=_LOG_LEVELS, default="info", help="what to log, at least (info)")


def _add_upgrade(commands: Any) -> None:
    command = commands.add_parser(
        "upgrade",
        help="have the running gateway change over to what is installed now",
        description="Have the gateway that runs with a configuration change over to the version that is installed now, "
        "controller and workers, without losing a request; return when it has.",
    )
    _add_config(command)


def _add_validate(commands: Any) -> None:
    command = commands.add_parser(
        "validate",
        help="check a configuration",
        description="Say everything that is wrong with a configuration, and start nothing.",
    )
    _add_config(command)
    _add_output(command)


def _add_plan(commands: Any) -> None:
    command = commands.add_parser(
        "plan",
        help="show what a changed configuration would do",
        description="Show what a configuration would add, change and remove: names, addresses, peers, listeners, who "
        "can reach what, and what needs a restart. Status 0 when nothing changes, 1 when something does.",
    )
    _add_config(command)
    command.add_argument(
        "--against",
        metavar="URL|FILE",
        help="what to compare with: a status API, or another configuration (the gateway that runs with FILE's state)",
    )
    _add_output(command)


def _add_status(commands: Any) -> None:
    command = commands.add_parser(
        "status",
        help="show the gateway and its peers",
        description="Show a running gateway, each peer's control and data path, and what a person should look at.",
    )
    _add_gateway(command)
    command.add_argument(
        "--check", action="store_true", help="exit with 1 unless the gateway and every peer of it are ready"
    )


def _add_services(commands: Any) -> None:
    command = commands.add_parser(
        "services",
        help="show the services that this cluster may use",
        description="Show every service that this cluster may use, and which clusters serve it.",
    )
    _add_gateway(command)


def _add_resolve(commands: Any) -> None:
    command = commands.add_parser(
        "resolve",
        help="ask the gateway's DNS for a service",
        description="Ask the running gateway's DNS, over the network as a workload would, and show who serves it.",
    )
    command.add_argument(
        "name",
        metavar="NAME",
        help="payments.shop, shop/payments, or a whole name like payments.shop.svc.clusterset.local",
    )
    command.add_argument(
        "--type",
        type=str.upper,
        choices=("A", "AAAA", "SRV", "TXT"),
        help="ask for this type only; without it, for addresses and for the SRV record of each port",
    )
    command.add_argument("--tcp", action="store_true", help="ask over TCP")
    _add_gateway(command)


def _add_explain(commands: Any) -> None:
    command = commands.add_parser(
        "explain",
        help="show why a service's requests go where they go",
        description="Show why requests for a service go where they go, now, and what would happen next.",
    )
    command.add_argument(
        "name", metavar="NAME", help="payments.shop, shop/payments, or payments.shop.svc.clusterset.local"
    )
    command.add_argument("--port", default="", metavar="PORT", help="the port's name (its first)")
    command.add_argument(
        "--from",
        dest="from_cluster",
        default="",
        metavar="CLUSTER",
        help="where requests come from: this cluster's own workloads, or a peer's (this cluster)",
    )
    _add_gateway(command)


def _add_events(commands: Any) -> None:
    command = commands.add_parser(
        "events",
        help="show what happened lately",
        description="Show what happened lately: ejections, failovers, health, links, freshness, exports.",
    )
    command.add_argument("--follow", action="store_true", help="go on, and show events as they happen")
    command.add_argument(
        "--service", default="", metavar="NAME", help="only this service's: payments.shop, shop/payments"
    )
    command.add_argument("--kind", default="", metavar="KIND", help="only events of this kind, like ejected")
    command.add_argument("--since", type=int, default=0, metavar="ID", help="only events after the one of this id")
    _add_gateway(command)


def _add_invite(commands: Any) -> None:
    command = commands.add_parser(
        "invite",
        help="make a token with which another cluster joins",
        description="Print a token with which another cluster joins, on one line of standard output. It is a secret.",
    )
    command.add_argument("name", metavar="NAME", nargs="?", default="", help="the only cluster that may use it (any)")
    command.add_argument("--expires", default="1h", metavar="DURATION", help="for how long it can be used (1h)")
    command.add_argument("--uses", type=int, default=1, metavar="N", help="how many clusters can join with it (1)")
    command.add_argument(
        "--accept",
        choices=("auto", "manual"),
        default="manual",
        help="manual: whoever joins waits for isthmus accept; auto: it becomes a peer at once (manual)",
    )
    _add_config(command)


def _add_join(commands: Any) -> None:
    command = commands.add_parser(
        "join",
        help="join the cluster that made a token",
        description="Redeem a token of isthmus invite: ask its cluster to take this one as a peer, and write that "
        "cluster into peers here.",
    )
    command.add_argument(
        "token", metavar="TOKEN", help="the token; - reads it from standard input, where no list of processes shows it"
    )
    _add_config(command)


def _add_accept(commands: Any) -> None:
    command = commands.add_parser(
        "accept",
        help="take a cluster that wants to join as a peer",
        description="Write a cluster that redeemed an invitation into peers; a running gateway takes it in by itself.",
    )
    command.add_argument("name", metavar="NAME", help="the cluster, as isthmus status shows it")
    command.add_argument("--root", default="", metavar="ROOT", help="its root, where several wait under that name")
    _add_config(command)


def _add_leave(commands: Any) -> None:
    command = commands.add_parser(
        "leave",
        help="leave the federation",
        description="Take exports, trust bundle and all else of this cluster out of etcd. Its gateway must not run.",
    )
    _add_config(command)


def _add_trust(commands: Any) -> None:
    command = commands.add_parser(
        "trust",
        help="show, rotate and revoke roots, and revoke gateways",
        description="Show this cluster's roots and its peers', replace the root, or revoke one or a gateway at once.",
    )
    actions = command.add_subparsers(dest="action", metavar="action", required=True)
    status = actions.add_parser(
        "status",
        help="show roots, record keys, and how far a rotation is",
        description="Show roots and record keys of this cluster and its peers, and who has acknowledged our bundle.",
    )
    _add_gateway(status)
    rotate = actions.add_parser(
        "rotate",
        help="replace this cluster's root",
        description="Have the running gateway replace the root: it signs when every peer has acknowledged it, and the "
        "old one goes when all that it signed has ended.",
    )
    rotate.add_argument(
        "--force", action="store_true", help="wait for no acknowledgement: who has given none may be cut off"
    )
    rotate.add_argument("--wait", action="store_true", help="return when it is done, and tell each stage")
    _add_config(rotate)
    revoke = actions.add_parser(
        "revoke",
        help="refuse a root or a gateway everywhere, at once",
        description="Have the running gateway revoke one of this cluster's roots, gateways or certificates: peers "
        "close what rests on it at once.",
    )
    revoke.add_argument("kind", choices=("root", "gateway"), help="what SUBJECT is")
    revoke.add_argument(
        "subject", metavar="SUBJECT", help="a root's fingerprint; a gateway's id or a certificate's serial number"
    )
    _add_config(revoke)


def _add_demo(commands: Any) -> None:
    command = commands.add_parser(
        "demo",
        help="see three clusters join, cross and survive on this machine",
        description="Start etcd and three clusters on this machine, walk through a federation's life, check each step.",
    )
    command.add_argument("--keep", action="store_true", help="leave it running afterwards, and say how to try it")


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-c", "--config", default="cluster.yaml", metavar="FILE", help="the configuration (cluster.yaml)"
    )


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="table for people, json for programs"
    )


def _add_gateway(command: argparse.ArgumentParser) -> None:
    """Which running gateway is meant, and how to show what it says."""
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "-c",
        "--config",
        default="cluster.yaml",
        metavar="FILE",
        help="the running gateway's configuration, which says where its status API is (cluster.yaml)",
    )
    where.add_argument("--url", metavar="URL", help="the gateway's status API itself, like http://127.0.0.1:15000")
    _add_output(command)
