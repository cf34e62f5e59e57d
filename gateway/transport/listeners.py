"""Listening sockets: opened by the controller, served by the workers, and held by both.

The controller keeps its copy, so that a socket and what waits in its queue outlive any worker; the workers keep
theirs, so that it outlives the controller. Every worker serves the same socket: one that dies leaves nobody waiting
in a queue of its own, as a SO_REUSEPORT socket for each worker would.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from itertools import islice

from discovery.address import HostPort, parse_host_port
from gateway.control import ListenerSpec
from gateway.transport.idle import prepare_accepted

BACKLOG = 4096
_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - to compare with
_KEYS = {
    "mesh": "gateway.mesh",
    "http": "gateway.http",
    "vip": "gateway.vip_range",
    "dns-udp": "dns.listen",
    "dns-tcp": "dns.listen",
    "status": "status.listen",
    "bundle": "trust.bundle_endpoint.listen",
}
"""Where cluster.yaml says the address, by kind."""


class ListenError(Exception):
    """A socket can't be opened; the message says which, why, and what to do."""


class AddressTaken(ListenError):
    """Another socket has the address, or a part of it."""


class Listeners:
    """The open sockets by name.

    Args:
        vip_limit: how many virtual IPs' sockets are opened. Each takes a file in the controller and in every worker,
            and connections need some too.
    """

    def __init__(self, vip_limit: int = 1 << 30) -> None:
        self.vip_limit = vip_limit
        self.sockets: dict[str, tuple[ListenerSpec, socket.socket]] = {}
        self.problems: dict[str, str] = {}
        """Why virtual IPs' listeners could not be opened, for status: one service's trouble stops no other."""
        self.waiting: dict[str, ListenerSpec] = {}
        """Virtual IPs' listeners beyond the limit."""
        self._failed: dict[str, ListenerSpec] = {}
        self._addresses: dict[str, str] = {}
        """Of sockets that somebody asked for: a status shows thousands, again and again."""

    def adopt(self, spec: ListenerSpec, sock: socket.socket) -> bool:
        """Takes a socket that a worker held over from an earlier controller. False (and closed) if there is one."""
        if spec.name in self.sockets:
            sock.close()
            return False
        # A socket made of a descriptor believes itself blocking, and `dup` would make all blocking that share it:
        # a worker would then wait in accept for ever.
        sock.setblocking(False)
        self.sockets[spec.name] = (spec, sock)
        return True

    def open(self, spec: ListenerSpec) -> socket.socket:
        """Opens a socket unless it is open. Raises ListenError."""
        held = self.sockets.get(spec.name)
        if held is not None and held[0] == spec:
            return held[1]
        if held is not None:
            self.close(spec.name)
        sock = _open(spec)
        self.sockets[spec.name] = (spec, sock)
        return sock

    def move(self, specs: Iterable[ListenerSpec]) -> list[str]:
        """Opens each of these in place of what has its name, or none of them if one can't be opened. Returns the names
        of what is new; this process's copies of the old ones are closed. Raises ListenError."""
        new: list[tuple[ListenerSpec, socket.socket]] = []
        try:
            for spec in specs:
                if spec.name not in self.sockets or self.sockets[spec.name][0] != spec:
                    new.append((spec, self._open_beside(spec)))
        except ListenError:
            for _, sock in new:
                sock.close()
            raise
        for spec, sock in new:
            self.close(spec.name)
            self.sockets[spec.name] = (spec, sock)
        return [spec.name for spec, _ in new]

    def _open_beside(self, spec: ListenerSpec) -> socket.socket:
        """A socket in place of the one that has its name, which is open still. Raises ListenError."""
        port = parse_host_port(spec.address)[1]
        old = self.sockets.get(spec.name)
        try:
            if old is not None and port and old[1].getsockname()[1] == port:
                return _open_overlapping(spec, old[1])
            return _open(spec)
        except AddressTaken as error:
            ours = self._overlapping(spec, port)
            if not ours:
                raise
            raise ListenError(
                f"{spec.name} cannot listen on {spec.address}: {ours} of this gateway listens on {self.address(ours)}; "
                "name another address, or move that one first"
            ) from error

    def _overlapping(self, spec: ListenerSpec, port: int) -> str:
        """The name of another socket of ours that takes the address, or a part of it; "" if there is none."""
        host = spec.address.rpartition(":")[0]
        for name, (held, sock) in self.sockets.items():
            its_host, its_port = sock.getsockname()[:2]
            if name == spec.name or its_port != port or (held.kind == "dns-udp") != (spec.kind == "dns-udp"):
                continue
            if its_host == host or {its_host, host.strip("[]")} & _WILDCARDS:
                return name
        return ""

    def try_open(self, spec: ListenerSpec) -> bool:
        """The same for a virtual IP: a failure is noted in `problems`, and what is above the limit waits."""
        self.waiting.pop(spec.name, None)
        if spec.name not in self.sockets and len(self.sockets) >= self.vip_limit:
            self.waiting[spec.name] = spec
            self._forget_problem(spec.name)
            return False
        try:
            self.open(spec)
        except ListenError as error:
            self.problems[spec.name] = str(error).removeprefix(f"{spec.name} ")
            self._failed[spec.name] = spec
            return False
        self._forget_problem(spec.name)
        return True

    def _forget_problem(self, name: str) -> None:
        self.problems.pop(name, None)
        self._failed.pop(name, None)

    def retry(self) -> list[str]:
        """Tries again what could not be opened, opens what there is room for now, and returns the names of what is open
        now. An address that another service had is free only when all workers have let go of it."""
        room = max(0, self.vip_limit - len(self.sockets))
        again = [*self._failed.values(), *islice(self.waiting.values(), room)]
        return [spec.name for spec in again if self.try_open(spec)]

    def left_over(self, is_wanted: Callable[[ListenerSpec], bool]) -> list[str]:
        """Virtual IPs' sockets that came from an earlier controller, for services that are not there any more."""
        return [name for name, (spec, _) in self.sockets.items() if spec.kind == "vip" and not is_wanted(spec)]

    def open_dns(self, udp: ListenerSpec, tcp: ListenerSpec) -> None:
        """Both sockets of a DNS server, on one port also where any free one is asked for. Raises ListenError."""
        host, port = parse_host_port(udp.address)
        if port or udp.name in self.sockets:
            self.open(udp)
            self.open(tcp)
            return
        for attempt in range(16):
            chosen = self.open(udp).getsockname()[1]
            try:
                sock = _open(ListenerSpec(tcp.name, tcp.kind, str(HostPort(host, chosen))))
            except ListenError:
                self.close(udp.name)
                if attempt == 15:
                    raise
            else:
                self.sockets[tcp.name] = (tcp, sock)
                return

    def close(self, name: str) -> None:
        self._forget_problem(name)
        self.waiting.pop(name, None)
        self._addresses.pop(name, None)
        if entry := self.sockets.pop(name, None):
            entry[1].close()

    def close_all(self) -> None:
        for name in [*self.sockets]:
            self.close(name)

    def address(self, name: str) -> str:
        """The address that a socket really has, "host:port"; "" if it is not open."""
        entry = self.sockets.get(name)
        if entry is None:
            return ""
        known = self._addresses.get(name)
        if known is None:
            known = self._addresses[name] = str(HostPort(*entry[1].getsockname()[:2]))
        return known


def _open_overlapping(spec: ListenerSpec, old: socket.socket) -> socket.socket:
    """On the port of another socket of ours, at an address that may include that one's, or be a part of it: at no time
    does nobody listen. The system lets only this user's sockets share a port. Raises ListenError."""
    old.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        new = _open(spec, shared=True)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        return new
    finally:
        old.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def _open(spec: ListenerSpec, *, shared: bool = False) -> socket.socket:
    host, port = parse_host_port(spec.address)
    kind = socket.SOCK_DGRAM if spec.kind == "dns-udp" else socket.SOCK_STREAM
    try:
        family, address = _socket_address(host, port, kind)
        sock = socket.socket(family, kind)
    except OSError as error:
        raise ListenError(
            f"{spec.name} cannot listen on {spec.address}: {error.strerror or error}; see {_KEYS[spec.kind]}"
        ) from error
    try:
        sock.setblocking(False)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            prepare_accepted(sock)
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        kind_of_error = AddressTaken if error.errno == errno.EADDRINUSE else ListenError
        raise kind_of_error(
            f"{spec.name} cannot listen on {spec.address}: {_advice(error, spec.kind, port)}"
        ) from error
    return sock


def _socket_address(host: str, port: int, kind: socket.SocketKind) -> tuple[int, tuple[object, ...]]:
    """The family and address to bind to. A resolver is asked for names only: virtual IPs come by the thousand."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family, (host, port)
    found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    return found[0], found[4]


def _advice(error: OSError, kind: str, port: int) -> str:
    key = _KEYS[kind]
    if error.errno == errno.EADDRINUSE and kind == "vip":
        return f"the address is in use; each gateway of one machine needs a {key} of its own"
    if error.errno == errno.EADDRINUSE:
        return f"the address is in use; end what uses it, or name another under {key}"
    if error.errno in (errno.EACCES, errno.EPERM) and port < 1024:
        return (
            f"port {port} needs the right to bind ports below 1024: give it with CAP_NET_BIND_SERVICE or the sysctl "
            "net.ipv4.ip_unprivileged_port_start"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine does not have that address; add it to an interface, or name another under {key}"
    return error.strerror or str(error)
