"""`isthmus invite`: a token with which another cluster joins."""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

from discovery.config_values import CLUSTER_NAME_FORM, is_cluster_name, parse_duration
from federation.invitation import MAX_USES, Invitation, public_key_of
from federation.invitation_files import InvitationFiles
from federation.join_token import SECRET_BYTES, JoinToken, encode_token
from gateway.cli.config_file import authority_or_fail, load_or_fail, wall_clock
from gateway.cli.exit_codes import NEGATIVE, OK, USAGE, Failure
from gateway.config import Config
from gateway.controller.private_etcd import kept_endpoint
from trust.source import TrustSource

_LONGEST_S = 30 * 86_400.0


def execute(arguments: argparse.Namespace) -> int:
    path = Path(arguments.config)
    config = load_or_fail(path)
    _check(arguments, config)
    endpoints = _endpoints(config)
    token, invitation = _make(arguments, config, authority_or_fail(config), endpoints)
    try:
        InvitationFiles(config.state_dir).create(invitation)
    except OSError as error:
        raise Failure(NEGATIVE, f"the invitation can't be kept in {config.state_dir}: {error.strerror}") from None
    print(encode_token(token))
    sys.stdout.flush()
    print(_said(invitation, config, path), file=sys.stderr, end="")
    return OK


def _check(arguments: argparse.Namespace, config: Config) -> None:
    """Raises Failure for what could never be redeemed."""
    name = arguments.name
    if name and not is_cluster_name(name):
        raise Failure(USAGE, f"{name!r} is not a cluster name; expected {CLUSTER_NAME_FORM}")
    if name == config.cluster.name:
        raise Failure(USAGE, f"{name} is this cluster itself")
    if name in config.peers:
        raise Failure(USAGE, f"{name} is a peer already; remove peers.{name} first if it comes back with another root")
    if not 1 <= arguments.uses <= MAX_USES:
        raise Failure(USAGE, f"--uses {arguments.uses}: expected 1 to {MAX_USES}")


def _lifetime_s(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_S:
        raise Failure(USAGE, f"--expires {text}: expected a duration of at most 720h, like 1h or 30m")
    return seconds


def _endpoints(config: Config) -> tuple[str, ...]:
    """Where the joiner leaves its request: our etcd."""
    if config.etcd is not None:
        return config.etcd.endpoints
    private = kept_endpoint(config.state_dir)
    if private is None:
        raise Failure(
            NEGATIVE, "no etcd is configured, and none was started yet: run the gateway first, or name etcd.endpoints"
        )
    return (private,)


def _make(
    arguments: argparse.Namespace, config: Config, authority: TrustSource, endpoints: tuple[str, ...]
) -> tuple[JoinToken, Invitation]:
    now = wall_clock()
    expires_at = now + _lifetime_s(arguments.expires)
    secret, id = secrets.token_bytes(SECRET_BYTES), secrets.token_hex(8)
    token = JoinToken(
        federation=config.federation,
        cluster=config.cluster.name,
        trust_domain=authority.trust_domain,
        root=authority.fingerprint,
        endpoints=endpoints,
        prefix=config.etcd.prefix if config.etcd is not None else "/isthmus",
        invitation=id,
        secret=secret,
        expires_at=expires_at,
        invited=arguments.name,
    )
    invitation = Invitation(
        id=id,
        public_key=public_key_of(secret, id),
        created_at=now,
        expires_at=expires_at,
        uses=arguments.uses,
        accept=arguments.accept,
        cluster=arguments.name,
    )
    return token, invitation


def _said(invitation: Invitation, config: Config, path: Path) -> str:
    who = invitation.cluster or "any cluster"
    times = "once" if invitation.uses == 1 else f"{invitation.uses} times"
    until = datetime.fromtimestamp(invitation.expires_at, UTC)
    after = (
        "it becomes a peer at once"
        if invitation.accept == "auto"
        else f"then here: isthmus accept {invitation.cluster or 'NAME'} -c {path}"
    )
    note = ""
    if config.etcd is None:
        note = "the private etcd listens on loopback: only clusters of this machine can use this token\n"
    return (
        f"invitation {invitation.id}: {who} can join with this line, {times}, until {until:%Y-%m-%d %H:%M:%S} UTC\n"
        f"it holds a secret: pass it on as you would a password; there: isthmus join - -c cluster.yaml\n"
        f"{after}\n"
        f"to revoke it: rm {config.state_dir / 'invitations' / invitation.id}.json\n{note}"
    )
