"""The tunnels to one gateway of a peer: which addresses it has, what is open to each, and what is thought of it.

A gateway has a few slots, each a task that keeps one tunnel open: dial, shake hands, check who answered, and when
another tunnel is needed in its place, begin again. A tunnel's own task carries and probes it until it ends, which may
be long after its slot has moved on: what it carries goes on.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
import trio

from gateway.codec.interface import TunnelCodec
from gateway.control import Tunnel as TunnelReport
from gateway.snapshot import GatewayAddress
from gateway.transport.client_connection import ClientConnection
from gateway.transport.reactor import Reactor
from gateway.transport.resolver import SYSTEM_TTL_S, Place, Resolver
from gateway.transport.tls_socket import TlsSocket
from gateway.tunnel.backoff import Backoff
from gateway.tunnel.flapping import Flapping
from gateway.tunnel.gateway_places import GatewayPlaces
from gateway.tunnel.identity import Identity, NotReady, Proof
from gateway.tunnel.link import Link, why_ended
from gateway.tunnel.opening import open_tunnel, shown
from gateway.tunnel.probe import Standing, TunnelProbe
from gateway.tunnel.settled_streams import SettledStreams
from trust.errors import TrustError

log = logging.getLogger("isthmus.tunnels")

TUNNELS_PER_GATEWAY = 2
"""At least; one for each address if there are more."""
TUNNELS_LIMIT = 8
RECONNECT_FIRST_S = 0.05
RECONNECT_LIMIT_S = 5.0
# What all peers hear at the same moment must not make all of them knock at the same moment.
NEWS_SPREAD_S = 0.1
# A tunnel that was there for so long did not end for what it was opened with.
STABLE_S = 10.0
# A tunnel is replaced, and then ends when it is idle, after this part of what was left of the certificates that it was
# opened with: so that none carries new requests on certificates that have ended, or whose root is retired by then.
_REPLACE_FROM, _REPLACE_TO = 0.6, 0.9


class Ground(msgspec.Struct, frozen=True):
    """What all tunnels of a worker stand on."""

    identity: Identity
    reactor: Reactor
    nursery: trio.Nursery
    resolver: Resolver
    make_codec: Callable[[], TunnelCodec]
    wall_clock: Callable[[], datetime]
    changed: Callable[[str], None]
    """Called with a cluster's name whenever one of its tunnels comes into service, or goes out of it."""
    rng: random.Random


class GatewayTunnels:
    """This worker's tunnels to one gateway of a peer. `close` or `retire` ends them."""

    def __init__(self, cluster: str, gateway: GatewayAddress, ground: Ground) -> None:
        self.cluster = cluster
        self.gateway = gateway
        self.links: list[Link] = []
        """All that are open, also those that have not answered yet and those that only finish what they carry."""
        self.flapping = Flapping()
        self.tried = False
        """The first attempt to open a tunnel has ended, well or not."""
        self._ground = ground
        self._places = GatewayPlaces(gateway, ground.resolver, self._moved)
        self._opening: dict[trio.CancelScope, Place] = {}
        self._scopes: set[trio.CancelScope] = set()
        self._keepers: set[trio.CancelScope] = set()
        self._slots = 0
        self._news = trio.Event()
        self._was_ready = False
        self._peer_id = ""
        self._address = ""
        self._rtt_s = 0.0
        self._error = ""
        self._keepers.add(self._start(self._follow_addresses))
        self._fill_slots()

    # What is thought of it.

    @property
    def ready(self) -> list[ClientConnection]:
        """Those that take requests."""
        return [link.conn for link in self.links if link.ready]

    @property
    def suspect(self) -> list[ClientConnection]:
        """Those that are silent, and may still answer."""
        return [link.conn for link in self.links if link.silent and not link.leaving]

    @property
    def absent(self) -> bool:
        """Whether those that are silent have been so for too long to be waited for."""
        return all(link.absent for link in self.links if link.silent and not link.leaving)

    def stall(self) -> None:
        """What waits on silent tunnels may have somewhere to go now, or nothing left to wait for."""
        for link in [*self.links]:
            if link.silent:
                link.stall()

    def report(self) -> TunnelReport:
        return TunnelReport(
            cluster=self.cluster,
            gateway=self.gateway.id,
            address=self._address,
            ready=min(len(self.ready), self._slots),
            wanted=self._slots,
            peer_id=self._peer_id,
            rtt_ms=round(self._rtt_s * 1000, 3),
            error=self._error,
            serials=tuple(sorted({link.proof.serial for link in self.links if link.ready})),
        )

    # What it is told.

    def readdress(self, gateway: GatewayAddress) -> None:
        """It says that it is elsewhere now. The old tunnels stay until there is a new one."""
        self.gateway = gateway
        self._places.readdress(gateway)

    def check_again(self) -> None:
        """What is believed has changed: ends what is not believed any more, and lets those that wait try at once."""
        for link in [*self.links]:
            if not self._ground.identity.still_believed(link.proof):
                link.reason = f"{link.proof.spiffe_id} is not believed any more"
                link.conn.abort()
        news, self._news = self._news, trio.Event()
        news.set()

    def retire(self) -> None:
        """It is gone from the catalog: nothing new goes there, and what is under way may end."""
        self._slots = 0
        for scope in self._keepers:
            scope.cancel()
        for link in self.links:
            link.leave()
        self._changed()

    def close(self) -> None:
        """Ends everything at once: also a task that has not begun to run."""
        self._slots = 0
        for scope in self._scopes:
            scope.cancel()
        for link in [*self.links]:
            link.conn.abort()

    # Tasks.

    def _start(self, task: Callable[..., Awaitable[None]], *arguments: object) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._scopes.add(scope)

        async def run() -> None:
            with scope:
                await task(*arguments)
            self._scopes.discard(scope)
            self._keepers.discard(scope)

        self._ground.nursery.start_soon(run)
        return scope

    def _fill_slots(self) -> None:
        """One slot for each address, within bounds."""
        wanted = min(max(len(self._places.known), TUNNELS_PER_GATEWAY), TUNNELS_LIMIT)
        first, self._slots = self._slots, wanted
        for slot in range(first, wanted):
            self._keepers.add(self._start(self._keep, slot))

    async def _pause(self, delay_s: float) -> None:
        """Waits, or until there are news."""
        with trio.move_on_after(delay_s):
            await self._news.wait()
            await trio.sleep(self._ground.rng.uniform(0, NEWS_SPREAD_S))

    # Where it is.

    async def _follow_addresses(self) -> None:
        """Looks its names up again whenever the last answer has had its time."""
        while True:
            try:
                await self._places.look_up()
            except OSError as error:
                self._error = str(error)
                self._changed()
            # A name that could not be found is asked for by those who dial, with their own patience.
            left_s = self._places.left_s
            await self._pause(left_s if left_s > 0 else SYSTEM_TTL_S)

    def _moved(self) -> None:
        self._leave_places_that_are_gone()
        self._fill_slots()
        self._spread()

    def _spread(self) -> None:
        """Moves tunnels from where there are several to addresses that have none, beyond what free slots will do."""
        held = [link for link in self.links if not link.leaving and not link.needed.is_set()]
        free = self._slots - len(held)
        for place in self._places.known:
            places = [link.place for link in held]
            crowded = [link for link in held if places.count(link.place) > 1]
            if place in places:
                continue
            if free > 0:
                free -= 1
            elif crowded:
                crowded[0].needed.set()
                held.remove(crowded[0])

    def _leave_places_that_are_gone(self) -> None:
        """What is open there stays until there is something better; what is being opened there is dropped."""
        for link in self.links:
            if link.place not in self._places.known:
                link.needed.set()
        for scope, place in self._opening.items():
            if place not in self._places.known:
                scope.cancel()

    def _places_in_turn(self) -> list[Place]:
        """Those with the fewest tunnels first, so that every address is used."""
        used = [link.place for link in self.links if not link.leaving and not link.needed.is_set()]
        used += self._opening.values()
        return sorted(self._places.known, key=used.count)

    # One tunnel's life.

    async def _keep(self, slot: int) -> None:
        backoff, link = Backoff(RECONNECT_FIRST_S, RECONNECT_LIMIT_S, STABLE_S), None
        while slot < self._slots:
            lived_s, link = await self._carry_once(link)
            await self._pause(backoff.next_s(lived_s, self._ground.rng))

    async def _carry_once(self, before: Link | None) -> tuple[float, Link | None]:
        """Opens a tunnel and returns when another one is needed in its place: for how many seconds it was not. If none
        could be opened, the one `before` stays in use."""
        try:
            ours = self._ground.identity.not_after
            tls, proof, place = await self._open()
        except NotReady as error:
            # Without an SVID there is nothing to try with.
            self.tried = self._ground.identity.svid is not None
            self._error = str(error)
        except (OSError, TrustError) as error:
            self.tried = True
            self._error = str(error)
        except Exception as error:
            self._ground.reactor.defects += 1
            log.exception("a tunnel to %s failed in a way that nobody foresaw", self.cluster)
            self.tried = True
            self._error = f"a defect of this gateway, see its log: {type(error).__name__}"
        else:
            began = trio.current_time()
            link = self._link(tls, proof, place, began + self._replace_after_s(ours, proof), before)
            self._start(self._carry, link)
            await link.needed.wait()
            now = trio.current_time()
            return (STABLE_S + 1 if now >= link.replace_at else now - began), link
        self._changed()
        return 0.0, before

    def _replace_after_s(self, ours: datetime, proof: Proof) -> float:
        left_s = (min(ours, proof.not_after) - self._ground.wall_clock()).total_seconds()
        return max(0.0, left_s) * self._ground.rng.uniform(_REPLACE_FROM, _REPLACE_TO)

    async def _open(self) -> tuple[TlsSocket, Proof, Place]:
        """To the first address where the right one answers."""
        ground = self._ground
        context = ground.identity.client_context(self.cluster)
        try:
            await self._places.look_up()
        except OSError:
            if not self._places.known:
                raise
        errors: list[str] = []
        for place in self._places_in_turn():
            with trio.CancelScope() as scope:
                self._opening[scope] = place
                try:
                    tls, proof = await open_tunnel(
                        place, self.cluster, context, ground.identity, ground.wall_clock, ground.reactor.turns
                    )
                    self._peer_id, self._address = str(proof.spiffe_id), shown(place)
                    return tls, proof, place
                except (OSError, TrustError) as error:
                    errors.append(str(error))
                finally:
                    del self._opening[scope]
        self._places.doubt()
        raise OSError("; ".join(errors) or "its address changed")

    def _link(self, tls: TlsSocket, proof: Proof, place: Place, replace_at: float, before: Link | None) -> Link:
        probe = TunnelProbe(trio.current_time())

        def answered(payload: bytes) -> None:
            was = probe.standing
            probe.answered(payload, trio.current_time())
            self._rtt_s = probe.rtt_s
            if was is not Standing.GOOD:
                self._in_service(link)

        def going_away() -> None:
            # What it carries goes on, unless the connection is gone; what is new goes over the tunnel that is opened in
            # its place.
            if not conn.gone:
                link.leave()
            self._changed()

        codec = self._ground.make_codec()
        conn = ClientConnection(self._ground.reactor, tls, codec, ping_ack=answered, going_away=going_away)
        conn.share(codec)
        link = Link(conn, proof, place, probe, replace_at=replace_at, before=before)
        if place not in self._places.known:
            # It moved while this one was being opened.
            link.needed.set()
        if not self._slots:
            # It was let go of in the very turn in which this one was opened.
            link.leave()
        self.links.append(link)
        return link

    async def _carry(self, link: Link) -> None:
        """Serves one connection until it ends, probing it."""
        conn, probe, settled, ended = link.conn, link.probe, SettledStreams(), trio.Event()
        last_stream = 0
        conn.on_end = ended.set
        if not conn.closed:
            conn.start()
        try:
            while not conn.closed and not (link.leaving and not conn.handlers):
                if trio.current_time() >= link.replace_at:
                    link.needed.set()
                was = probe.standing
                idle = not conn.handlers and conn.last_stream == last_stream
                look, last_stream = probe.look(trio.current_time(), conn.last_active, idle=idle), conn.last_stream
                conn.settled = settled.count(conn.handlers, conn.last_stream, trio.current_time())
                if look.standing is Standing.DEAD:
                    link.reason = f"no answer to a PING within {look.silent_s:.1f} s"
                    break
                if look.standing is not was:
                    self._restand(link, look.silent_s)
                if look.ping:
                    conn.codec.ping(look.ping)
                    conn.touch()
                self._ground.reactor.flush()
                with trio.move_on_after(look.again_in_s):
                    await ended.wait()
        finally:
            self.tried = True
            was_good = probe.standing is not Standing.UNPROVEN
            conn.abort()
            self._ground.reactor.flush()
            self.links.remove(link)
            if not link.leaving or not was_good:
                self._error = link.reason or why_ended(conn, was_good)
            link.leave()
            self._changed()

    def _restand(self, link: Link, silent_s: float) -> None:
        """It fell silent, or was heard again."""
        if link.probe.standing is Standing.GOOD:
            self._in_service(link)
            return
        fallen = [link]
        if link.probe.standing is Standing.SUSPECT:
            fallen += [other for other in self.links if other.suspect_too()]
        self._error = f"no answer to a PING within {silent_s:.1f} s"
        for silent in fallen:
            # A peer that was replaced without a word (rebooted, say) answers to a new tunnel at once.
            silent.needed.set()
        self._changed()
        for silent in fallen:
            silent.stall()

    def _in_service(self, link: Link) -> None:
        """Takes requests from now on. The one that it was opened in place of does not any more."""
        self.tried = True
        self._error = ""
        if link.before is not None:
            link.before.leave()
            link.before = None
        self._changed()

    def _changed(self) -> None:
        ready, now = any(link.ready for link in self.links), trio.current_time()
        if ready and not self._was_ready:
            self.flapping.back(now)
        elif self._was_ready and not ready:
            self.flapping.gone(now)
        self._was_ready = ready
        self._ground.changed(self.cluster)
