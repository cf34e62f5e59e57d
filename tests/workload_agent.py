"""A SPIFFE agent for tests: a real gRPC server of the Workload API on a Unix socket, made on h2 and trio."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import trio

from federation.etcd.framing import encode_message
from federation.workload import workload_pb2 as pb
from trust.authority import Authority
from trust.certificate import encode_certificate
from trust.issuance import issue_leaf
from trust.keys import PrivateKey
from trust.spiffe_id import SpiffeId, controller_id, gateway_id
from trust.svid import make_signing_request

_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]


def svid_of(
    authority: Authority,
    identity: SpiffeId,
    *,
    roots: tuple[bytes, ...] = (),
    lifetime_s: float = 3600.0,
    ahead: timedelta = timedelta(),
) -> pb.X509SVID:
    """An SVID as SPIRE would give it, with its key. `ahead`: how much the clock of who issues it is."""
    key = PrivateKey.generate()
    now = datetime.now(UTC) + ahead
    chain = issue(authority, identity, key, now, lifetime_s)
    return pb.X509SVID(
        spiffe_id=str(identity),
        x509_svid=b"".join(chain),
        x509_svid_key=key.expose_private_der(),
        bundle=b"".join(roots or (authority.root_der,)),
    )


def issue(
    authority: Authority, identity: SpiffeId, key: PrivateKey, now: datetime, lifetime_s: float
) -> tuple[bytes, ...]:
    """Our own CA stands for SPIRE's: its certificates have the same form."""
    if identity == gateway_id(authority.trust_domain):
        return tuple(authority.issue_gateway(make_signing_request(key), now=now, lifetime_s=lifetime_s))
    return (sign_leaf(authority, identity, key, now, lifetime_s),)


def sign_leaf(authority: Authority, identity: SpiffeId, key: PrivateKey, now: datetime, lifetime_s: float) -> bytes:
    signed = issue_leaf(key.public_key, identity, authority._root, authority._key, now, timedelta(seconds=lifetime_s))
    return encode_certificate(signed)


def both(
    authority: Authority,
    *,
    roots: tuple[bytes, ...] = (),
    lifetime_s: float = 3600.0,
    ahead: timedelta = timedelta(),
) -> pb.X509SVIDResponse:
    """What a cluster needs: the gateway's SVID and the controller's."""
    domain = authority.trust_domain
    return pb.X509SVIDResponse(
        svids=[
            svid_of(authority, identity, roots=roots, lifetime_s=lifetime_s, ahead=ahead)
            for identity in (gateway_id(domain), controller_id(domain))
        ]
    )


class Agent:
    """Serves `answer` to each caller, anew whenever it changes; with `denial` it refuses (PermissionDenied)."""

    def __init__(self, path: Path, answer: pb.X509SVIDResponse) -> None:
        self.path = path
        self.answer = answer
        self.denial = ""
        self.calls = 0
        self.pings = 0
        self._changed = trio.Event()
        self._scope = trio.CancelScope()

    def give(self, answer: pb.X509SVIDResponse) -> None:
        """Another answer: from now on, and to those who listen."""
        self.answer = answer
        self._signal()

    def deny(self, why: str) -> None:
        self.denial = why
        self._signal()

    def stop(self) -> None:
        self._scope.cancel()

    def _signal(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.path.unlink(missing_ok=True)
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(self.path))
        sock.listen()
        with self._scope:
            task_status.started()
            await trio.serve_listeners(self._serve_one, [trio.SocketListener(sock)])
        sock.close()

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        lock = trio.Lock()

        async def flush() -> None:
            async with lock:
                await stream.send_all(connection.data_to_send())

        try:
            async with stream, trio.open_nursery() as nursery:
                await flush()
                while data := await stream.receive_some(65_536):
                    for event in connection.receive_data(bytes(data)):
                        if isinstance(event, h2.events.RequestReceived):
                            nursery.start_soon(self._answer, flush, connection, event)
                        elif isinstance(event, h2.events.PingReceived):
                            self.pings += 1
                    await flush()
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _answer(
        self,
        flush: Callable[[], Awaitable[None]],
        connection: h2.connection.H2Connection,
        call: h2.events.RequestReceived,
    ) -> None:
        self.calls += 1
        fields = dict(call.headers or ())
        assert fields[b":path"] == b"/SpiffeWorkloadAPI/FetchX509SVID"
        connection.send_headers(call.stream_id, _HEAD)
        if fields.get(b"workload.spiffe.io") != b"true":
            self._end(connection, call.stream_id, 3, "security header missing from request")
        while not self.denial:
            changed = self._changed
            connection.send_data(call.stream_id, encode_message(self.answer.SerializeToString()))
            await flush()
            await changed.wait()
        self._end(connection, call.stream_id, 7, self.denial)
        await flush()

    def _end(self, connection: h2.connection.H2Connection, stream_id: int, status: int, message: str) -> None:
        trailers = [(b"grpc-status", b"%d" % status), (b"grpc-message", message.encode())]
        connection.send_headers(stream_id, trailers, end_stream=True)


@contextmanager
def agent_thread(path: Path, answer: pb.X509SVIDResponse) -> Iterator[Callable[[Callable[[Agent], None]], None]]:
    """An agent beside a test that is not in trio. What it yields does something with the agent, in its thread."""
    ready = threading.Event()
    box: list[tuple[Agent, trio.lowlevel.TrioToken]] = []

    async def run() -> None:
        agent = Agent(path, answer)
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.serve)
            box.append((agent, trio.lowlevel.current_trio_token()))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        assert ready.wait(10), "the agent did not start"
        agent, token = box[0]
        yield lambda act: token.run_sync_soon(act, agent)
    finally:
        box[0][1].run_sync_soon(box[0][0].stop)
        thread.join(10)
