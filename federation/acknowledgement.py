"""Who has taken in what our bundle says now, and who has not and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from federation.beliefs import Beliefs
from federation.members import Member
from federation.own_records import OwnRecords
from federation.paths import BUNDLE
from federation.values import GatewayValue


class PublicationState(msgspec.Struct, frozen=True):
    """`waiting_for`: peers and gateways of ours that don't go by the current bundle, and why. `published`: whether
    etcd holds it; `unsigned`: how many of our records there are signed with a key that will be retired. `behind`:
    another gateway of ours has said a later bundle, of that sequence, than our keys know."""

    sequence: int
    waiting_for: Mapping[str, str]
    published: bool
    unsigned: int
    behind: bool
    gateways: tuple[str, ...] = ()
    """The other gateways of our cluster that are registered, by id."""


def view_publication(beliefs: Beliefs) -> PublicationState:
    own, members = beliefs.own, beliefs.members
    lags = {
        cluster: describe_lag(cluster, members[cluster], beliefs.settings.cluster, own.bundle_sequence)
        for cluster in members
        if members[cluster].peer.endpoint is None  # Who follows us by URL has no way to acknowledge.
    }
    lags |= {f"gateway {id}": describe_gateway_lag(gateway, own) for id, gateway in own.gateways.items()}
    return PublicationState(
        sequence=own.bundle_sequence,
        waiting_for={name: why for name, why in lags.items() if why},
        published=own.publication.agrees(BUNDLE),
        unsigned=own.publication.count_outdated(),
        behind=own.behind,
        gateways=tuple(sorted(own.gateways)),
    )


def describe_lag(cluster: str, member: Member, own_cluster: str, sequence: int) -> str:
    """Why a peer has not acknowledged our bundle of this sequence; empty if it has."""
    state = member.state
    acknowledged = state.acks.get(own_cluster, -1)
    if acknowledged == sequence:
        return ""
    if state.away:
        return (
            f"it has no bundle in etcd: it never joined or has left; if it does not come back, remove peers.{cluster}"
        )
    if acknowledged < 0:
        return "it acknowledges no bundle of ours: it does not name us among its peers, or can't read our etcd"
    down = "" if state.has_lease else "; none of its gateways is registered, so none reads it"
    return f"it acknowledges our bundle {acknowledged}, which is {sequence} now{down}"


def describe_gateway_lag(gateway: GatewayValue, own: OwnRecords) -> str:
    """Why another gateway of our cluster does not have the keys of our bundle; empty if it has."""
    if gateway.bundle_sequence >= own.bundle_sequence:
        return ""
    return (
        f"this gateway of our cluster has the keys of bundle {gateway.bundle_sequence}, which is {own.bundle_sequence} "
        "now: bring state_dir/trust there"
    )
