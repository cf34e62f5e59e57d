"""Where one gateway of a peer is: the addresses behind the names that it advertises, looked up again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from gateway.snapshot import GatewayAddress
from gateway.transport.resolver import SYSTEM_TTL_S, TTL_LEAST_S, Place, Resolution


class Names(Protocol):
    """Implemented by `resolver.Resolver`."""

    async def resolve(self, address: str) -> Resolution: ...


class GatewayPlaces:
    """The places of one gateway, each once.

    Args:
        moved: called when they are others than before.
    """

    def __init__(self, gateway: GatewayAddress, names: Names, moved: Callable[[], None]) -> None:
        self.gateway = gateway
        self.known: tuple[Place, ...] = ()
        self._names = names
        self._moved = moved
        self._until = float("-inf")
        self._looked_up_at = float("-inf")
        self._looking_up = trio.Lock()

    @property
    def left_s(self) -> float:
        """For how long what is known counts; not above zero when it is to be looked up."""
        return self._until - trio.current_time()

    def readdress(self, gateway: GatewayAddress) -> None:
        """It says that it is elsewhere now."""
        self.gateway = gateway
        self._until = float("-inf")

    def doubt(self) -> None:
        """Nobody answers there: a name may have moved before its time was over."""
        self._until = min(self._until, self._looked_up_at + TTL_LEAST_S)

    async def look_up(self) -> None:
        """Brings `known` up to date, if its time is over. Raises OSError if there is no address at all."""
        async with self._looking_up:
            if self.left_s <= 0:
                await self._look_up_now()

    async def _look_up_now(self) -> None:
        places: list[Place] = []
        errors: list[str] = []
        ttl_s = float("inf")
        for address in self.gateway.addresses:
            try:
                found = await self._names.resolve(address)
            except OSError as error:
                errors.append(str(error))
                ttl_s = min(ttl_s, SYSTEM_TTL_S)
            else:
                places += found.places
                ttl_s = min(ttl_s, found.ttl_s)
        if not places:
            # What was known stays in use: a resolver that is away must not take a gateway with it.
            raise OSError("; ".join(errors) or "the gateway advertises no address")
        self._looked_up_at = trio.current_time()
        self._until = self._looked_up_at + ttl_s
        if set(places) != set(self.known):
            self.known = tuple(dict.fromkeys(places))
            self._moved()
