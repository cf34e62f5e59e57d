"""`isthmus join`: the other end of `isthmus invite`."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from federation.etcd.client import open_etcd
from federation.etcd.config import EtcdConfig
from federation.etcd.errors import EtcdError
from federation.join_answer import AnswerCode, AnswerValue
from federation.join_token import JoinToken, TokenRefused, parse_token
from federation.joining import INVITER_WAIT_S, JoinFailed, ask_to_join
from federation.record import MAX_SKEW_S
from gateway.cli.config_file import authority_or_fail, load_or_fail, wall_clock
from gateway.cli.exit_codes import NEGATIVE, OK, USAGE, Failure
from gateway.config import Config, parse_config
from gateway.config.edit import CannotEdit, add_etcd, add_peer, rewrite
from gateway.config.files import read_config_text
from gateway.controller.etcd_access import etcd_config
from trust.source import TrustSource

_ANSWER_TIMEOUT_S = 15.0


def execute(arguments: argparse.Namespace) -> int:
    path = Path(arguments.config)
    config = load_or_fail(path)
    token = _read_token(arguments.token)
    _check(token, config, path)
    lines = _prepare(token, config, path)
    authority = authority_or_fail(config)
    answer = _ask(token, config, authority)
    if answer.code.is_refusal:
        raise Failure(NEGATIVE, f"{token.cluster} refused: {answer.code}: {answer.detail}; nothing was changed here")
    return _write(token, config, path, authority, answer, lines)


def _read_token(text: str) -> JoinToken:
    """From the command line, or with `-` from standard input, where no list of processes shows it."""
    if text == "-":
        text = getpass.getpass("token: ") if sys.stdin.isatty() else sys.stdin.read(65_536)
    try:
        return parse_token(text)
    except TokenRefused as error:
        raise Failure(USAGE, f"token refused: {error.code}: {error}") from None


def _check(token: JoinToken, config: Config, path: Path) -> None:
    """What can be said without asking anybody. Raises Failure."""
    own = config.cluster.name
    if token.federation != config.federation:
        raise Failure(
            USAGE,
            f"token refused: foreign: it is of federation {token.federation}, and {path} is of {config.federation}; "
            "a cluster is in one federation: correct the key federation, or ask for a token of yours",
        )
    if token.cluster == own:
        raise Failure(USAGE, f"token refused: own: {own} itself made it; it is for another cluster")
    if token.invited and token.invited != own:
        raise Failure(USAGE, f"token refused: other-cluster: it is for {token.invited} alone, and this is {own}")
    late_s = wall_clock() - token.expires_at
    if late_s > MAX_SKEW_S:
        # Within the skew that clocks may have, the inviter's decides.
        raise Failure(
            USAGE, f"token refused: expired: {late_s / 60:.0f} minutes ago; ask {token.cluster} for a new one"
        )
    if config.etcd is not None and config.etcd.prefix != token.prefix:
        raise Failure(USAGE, f"token refused: etcd.prefix is {config.etcd.prefix} here and {token.prefix} in the token")


def _prepare(token: JoinToken, config: Config, path: Path) -> str:
    """Tries the change of cluster.yaml before the token is used up. Returns the lines to paste where it can't be
    edited, empty where it can. Raises Failure where no line would help."""
    try:
        after = _changed(read_config_text(path), token, config)
    except CannotEdit as error:
        if token.cluster in config.peers:
            message = (
                f"{path}: peers.{token.cluster} is there already, with another trust domain or root than the token's"
            )
            raise Failure(USAGE, message) from None
        return error.lines
    except ValueError as error:
        raise Failure(USAGE, f"{path}: {error}") from None
    errors = parse_config(after, path).errors
    if errors:
        raise Failure(USAGE, f"with {token.cluster} as a peer, {path} would not be valid: {errors[0]}")
    return ""


def _changed(text: str, token: JoinToken, config: Config) -> str:
    text = add_peer(text, token.cluster, token.trust_domain, token.root)
    return text if config.etcd is not None else add_etcd(text, token.endpoints, token.prefix)


def _ask(token: JoinToken, config: Config, authority: TrustSource) -> AnswerValue:
    """The inviter's answer. Raises Failure."""

    async def ask() -> AnswerValue | None:
        access = etcd_config(config.etcd) if config.etcd is not None else EtcdConfig(endpoints=token.endpoints)
        async with open_etcd(access) as etcd:
            with trio.move_on_after(_ANSWER_TIMEOUT_S) as waited:
                await etcd.wait_connected()
            if waited.cancelled_caught:
                reasons = "; ".join(f"{state.url}: {state.error}" for state in etcd.endpoints)
                raise EtcdError("unavailable", f"etcd can't be reached: {reasons}")
            return await ask_to_join(
                etcd,
                token,
                authority,
                config.cluster.name,
                now=wall_clock(),
                timeout_s=_ANSWER_TIMEOUT_S,
                waiting=lambda: _say_waiting(token),
            )

    try:
        answer = _run(ask)
    except JoinFailed as error:
        raise Failure(NEGATIVE, f"{error.code}: {error}; nothing was changed") from None
    except (EtcdError, OSError) as error:
        hint = "" if config.etcd is not None else "; if it needs credentials, write an etcd section first"
        raise Failure(NEGATIVE, f"{error}{hint}; nothing was changed") from None
    if answer is None:
        raise Failure(
            NEGATIVE,
            f"no gateway of {token.cluster} answered within {_ANSWER_TIMEOUT_S:.0f} s: it does not run, or the "
            "invitation was revoked there (isthmus status there says which); the request was taken back, "
            "nothing was changed",
        )
    return answer


def _say_waiting(token: JoinToken) -> None:
    text = f"{token.cluster} is not in etcd: waiting up to {INVITER_WAIT_S:.0f} s for its gateway to come there"
    print(text, file=sys.stderr, flush=True)


def _run(ask: Callable[[], Awaitable[AnswerValue | None]]) -> AnswerValue | None:
    """Runs `ask`; a Ctrl-C comes out as itself, not in a group."""
    try:
        return trio.run(ask)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from None
        raise


def _write(
    token: JoinToken, config: Config, path: Path, authority: TrustSource, answer: AnswerValue, lines: str
) -> int:
    try:
        if not lines:
            rewrite(path, lambda text: _changed(text, token, config))
    except CannotEdit as error:
        lines = error.lines
    accepted = answer.code is AnswerCode.ACCEPTED
    print(f"{token.cluster} has {'accepted this cluster' if accepted else 'the request, and did not accept it yet'}")
    print(f"this cluster: {config.cluster.name}, trust domain {authority.trust_domain}, root {authority.fingerprint}")
    if not accepted:
        print(f"there, its operator compares that root and runs: isthmus accept {config.cluster.name}")
    if lines:
        print(f"{path} is left as it is: its layout can't be edited safely; write this into it:\n{lines}")
        return NEGATIVE
    print(f"peers.{token.cluster} is written into {path}: trust domain {token.trust_domain}, root {token.root}")
    if config.etcd is None:
        print(f"so is etcd, {', '.join(token.endpoints)}: a gateway that runs already needs a restart")
    return OK
