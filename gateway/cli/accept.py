"""`isthmus accept`: a cluster that redeemed an invitation becomes a peer, by standing in cluster.yaml."""

from __future__ import annotations

import argparse
from pathlib import Path

from federation.invitation import Joiner, Pinned, waiting
from federation.invitation_files import InvitationFiles
from gateway.cli.config_file import load_or_fail
from gateway.cli.exit_codes import NEGATIVE, OK, Failure
from gateway.config import Config
from gateway.config.edit import CannotEdit, add_peer, rewrite


def execute(arguments: argparse.Namespace) -> int:
    path = Path(arguments.config)
    config = load_or_fail(path)
    if arguments.name in config.peers:
        print(f"{arguments.name} is a peer already, root {config.peers[arguments.name].root}")
        return OK
    joiner = _choose(arguments, config)
    try:
        rewrite(path, lambda text: add_peer(text, joiner.cluster, joiner.trust_domain, joiner.root))
    except (CannotEdit, ValueError) as error:
        raise Failure(NEGATIVE, f"{path} is left as it is: {error}".rstrip()) from None
    print(
        f"{joiner.cluster} is a peer now: peers.{joiner.cluster} is written into {path}\n"
        f"trust domain {joiner.trust_domain}, root {joiner.root}\n"
        "a running gateway takes it in by itself; see isthmus status"
    )
    return OK


def _choose(arguments: argparse.Namespace, config: Config) -> Joiner:
    """The only one that waits under that name (and with `--root`, with that root). Raises Failure."""
    peers = {name: Pinned(peer.trust_domain, peer.root) for name, peer in config.peers.items()}
    invitations = InvitationFiles(config.state_dir).load()
    everybody = {joiner.identity: joiner for _, joiner in waiting(invitations.values(), peers)}
    found = [
        joiner
        for joiner in everybody.values()
        if joiner.cluster == arguments.name and arguments.root in ("", joiner.root)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        roots = "".join(f"\n  {joiner.root}" for joiner in found)
        raise Failure(NEGATIVE, f"{len(found)} clusters wait as {arguments.name}; choose with --root:{roots}")
    others = ", ".join(sorted(f"{joiner.cluster} with root {joiner.root}" for joiner in everybody.values()))
    raise Failure(NEGATIVE, f"{_sought(arguments)} waits to be accepted; who waits: {others or 'nobody'}")


def _sought(arguments: argparse.Namespace) -> str:
    return f"no cluster {arguments.name}" + (f" with root {arguments.root}" if arguments.root else "")
