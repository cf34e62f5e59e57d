"""`isthmus trust`: what is believed of this cluster and its peers; replacing the root; revoking in an emergency."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from federation.status.trust_values import OwnRootDocument, PeerTrustDocument, RotationDocument, TrustDocument
from gateway.cli.config_file import load_or_fail
from gateway.cli.exit_codes import NEGATIVE, OK, UNREACHABLE, USAGE, Failure
from gateway.cli.gateway_api import GatewayApi, find_gateway
from gateway.cli.table import format_table, printable
from gateway.config import Config
from gateway.trust_keeping.orders import OrderFiles, TrustAnswer, TrustOrder
from trust.errors import TrustError
from trust.fingerprint import parse_fingerprint

_ANSWER_TIMEOUT_S = 10.0
_POLL_S = 0.05
_WATCH_S = 0.5


def execute(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "status":
            return _status(arguments)
        case "rotate":
            return _rotate(arguments)
        case _:
            return _revoke(arguments)


# Showing.


def _status(arguments: argparse.Namespace) -> int:
    api = find_gateway(arguments)
    body = api.get("/v1/trust")
    trust = api.read(body, TrustDocument)
    if arguments.output == "json":
        print(msgspec.json.format(body).decode())
    else:
        sys.stdout.write(format_trust(trust))
    return OK


def format_trust(trust: TrustDocument) -> str:
    return "\n".join(part for part in _format_parts(trust) if part)


def _format_parts(trust: TrustDocument) -> Iterator[str]:
    sequence = "not said yet" if trust.bundle_sequence is None else str(trust.bundle_sequence)
    lines = [
        ("trust domain", trust.trust_domain),
        ("bundle", sequence),
        ("rotation", _format_rotation(trust.rotation)),
        ("record keys", ", ".join(trust.record_keys)),
    ]
    lines += [("revoked", f"gateway {gateway}") for gateway in trust.revoked.gateways]
    lines += [("revoked", f"certificate {serial}") for serial in trust.revoked.serials]
    yield "".join(f"{name:<14}{text}\n" for name, text in lines)
    yield format_table(("ROOT", "ROLE", "ENDS"), (_root_row(root) for root in trust.roots))
    if trust.rotation is not None and trust.rotation.waiting_for:
        yield "waiting for:\n" + "".join(f"  {printable(why)}\n" for why in trust.rotation.waiting_for)
    behind = trust.rotation.not_acknowledged if trust.rotation is not None else {}
    if trust.peers:
        heads = ("PEER", "THEIR BUNDLE", "ACKNOWLEDGES OURS", "PIN", "ROOTS")
        yield format_table(heads, (_peer_row(peer, behind, trust.bundle_sequence) for peer in trust.peers))
    lags = {name: why for name, why in behind.items() if f"{name}: {why}" not in (trust.rotation or _NONE).waiting_for}
    if lags:
        yield "not by our bundle:\n" + "".join(f"  {printable(f'{name}: {why}')}\n" for name, why in lags.items())


_NONE = RotationDocument("steady", None, False, (), {})


def _format_rotation(rotation: RotationDocument | None) -> str:
    if rotation is None:
        return "none: the CA is not this cluster's own"
    since = f" since {rotation.since:%Y-%m-%dT%H:%M:%SZ}" if rotation.since is not None else ""
    return f"{rotation.stage}{since}" + (", forced" if rotation.forced else "")


def _root_row(root: OwnRootDocument) -> tuple[str, ...]:
    return (root.fingerprint, root.role, f"{root.not_after:%Y-%m-%d}")


def _peer_row(peer: PeerTrustDocument, behind: dict[str, str], sequence: int | None) -> tuple[str, ...]:
    return (
        peer.cluster,
        "" if peer.bundle_sequence is None else str(peer.bundle_sequence),
        _acknowledgement(peer, behind, sequence),
        "current" if peer.pin_is_current else "outdated",
        ", ".join(f"{root.fingerprint[:19]}… until {root.not_after:%Y-%m-%d}" for root in peer.roots),
    )


def _acknowledgement(peer: PeerTrustDocument, behind: dict[str, str], sequence: int | None) -> str:
    """Whether a peer goes by our bundle of this sequence, in a word or two."""
    if peer.bundle_url:
        return "can't: is in no etcd"
    if peer.acknowledged_sequence is None:
        return "no"
    if peer.cluster not in behind and peer.acknowledged_sequence == sequence:
        return "yes"
    return f"{peer.acknowledged_sequence} of {'none yet' if sequence is None else sequence}"


# Ordering.


def _rotate(arguments: argparse.Namespace) -> int:
    config = load_or_fail(Path(arguments.config))
    api, before = _ask_trust(arguments)
    if arguments.force:
        _warn(before)
    if not (arguments.wait and _is_under_way(before) and not arguments.force):
        print(_order(config, TrustOrder("rotate", force=arguments.force)))
    if arguments.wait:
        _wait(api)
    else:
        print("see isthmus trust status")
    return OK


def _warn(trust: TrustDocument) -> None:
    left = trust.rotation.not_acknowledged if trust.rotation is not None else {}
    text = ", ".join(sorted(left)) or "nobody, as things are now"
    print(
        "WARNING: --force waits for no acknowledgement. Whoever has not taken the new root in when the old one goes "
        f"refuses this cluster until its operator pins the new one. Behind now: {text}",
        file=sys.stderr,
    )


def _is_under_way(trust: TrustDocument) -> bool:
    return trust.rotation is not None and trust.rotation.stage != "steady"


def _wait(api: GatewayApi) -> None:
    """Tells what changes until there is one root again."""
    told: Sequence[str] = ()
    while True:
        trust = api.read(api.get("/v1/trust"), TrustDocument)
        rotation = trust.rotation or _NONE
        # The seconds that are left are no news.
        news = (rotation.stage, *(why for why in rotation.waiting_for if why[-2:] != " s"))
        if news != told:
            told = news
            waiting = f": waits for {printable('; '.join(rotation.waiting_for))}" if rotation.waiting_for else ""
            print(f"{rotation.stage}{waiting}", flush=True)
        if not _is_under_way(trust):
            signing = next(root.fingerprint for root in trust.roots if root.role == "signing")
            print(f"done: {signing} is this cluster's root; peers write it as its root when they come to it")
            return
        time.sleep(_WATCH_S)


def _revoke(arguments: argparse.Namespace) -> int:
    config = load_or_fail(Path(arguments.config))
    subject = arguments.subject
    if arguments.kind == "root":
        try:
            subject = parse_fingerprint(subject)
        except TrustError as error:
            raise Failure(USAGE, str(error)) from None
    _ask_trust(arguments)
    print(_order(config, TrustOrder("revoke-root" if arguments.kind == "root" else "revoke-gateway", subject)))
    return OK


def _ask_trust(arguments: argparse.Namespace) -> tuple[GatewayApi, TrustDocument]:
    """The running gateway, which alone can tell peers. Raises Failure."""
    arguments.url = None
    api = find_gateway(arguments)
    trust = api.read(api.get("/v1/trust"), TrustDocument)
    if trust.rotation is None:
        raise Failure(
            NEGATIVE,
            "this cluster's CA is not its own (trust.ca_dir): rotate and revoke where its certificates come from",
        )
    return api, trust


def _order(config: Config, order: TrustOrder) -> str:
    """What the gateway says to an order that it obeyed. Raises Failure."""
    files = OrderFiles(config.state_dir)
    try:
        id = files.give(order)
    except OSError as error:
        raise Failure(NEGATIVE, f"the order can't be left in {config.state_dir}: {error.strerror}") from None
    answer: TrustAnswer | None = None
    give_up_at = time.monotonic() + _ANSWER_TIMEOUT_S  # noqa: TID251 - a command waits for another process
    while answer is None and time.monotonic() < give_up_at:  # noqa: TID251
        time.sleep(_POLL_S)
        answer = files.read_answer(id)
    if answer is None:
        withdrawn = files.withdraw(id)
        fate = "the order was taken back" if withdrawn else "it took the order: see isthmus trust status"
        raise Failure(UNREACHABLE, f"the gateway did not answer within {_ANSWER_TIMEOUT_S:.0f} s; {fate}")
    if not answer.done:
        raise Failure(NEGATIVE, answer.message)
    return answer.message
