"""The Workload API's client: one stream over a Unix socket, on the gRPC that we speak to etcd.

Source: the SPIFFE Workload Endpoint standard, sections 3 to 6, and Workload API, section 5.2.1. One answer holds
everything: SVIDs, keys, and their trust domain's bundle. The agent sends it anew when any of that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import trio
from google.protobuf.message import DecodeError

from federation.etcd.errors import GrpcStatus, RpcError
from federation.etcd.grpc import GrpcConnection
from federation.workload import workload_pb2 as pb
from trust.errors import TrustError
from trust.workload_svid import WorkloadSvid

DIAL_TIMEOUT_S = 5.0
_FETCH = "/SpiffeWorkloadAPI/FetchX509SVID"
# So that a request that a browser was tricked into is told apart (Workload Endpoint, section 5).
_METADATA = ((b"workload.spiffe.io", b"true"),)


class WorkloadFailed(Exception):
    """The stream ended, or never began; the message says why and what to do."""

    def __init__(self, message: str, unfit: TrustError | None = None) -> None:
        super().__init__(message)
        self.unfit = unfit
        """What is wrong with the answer that ended it, if that is why."""


async def follow_svids(socket: Path, take: Callable[[Sequence[WorkloadSvid]], None]) -> None:
    """Hands `take` each answer until the stream ends; that is always a WorkloadFailed. A TrustError of `take` ends it
    too, since nothing else has the agent say the same again, and that may be better later: an SVID that begins ahead
    of this machine's clock."""
    try:
        with trio.fail_after(DIAL_TIMEOUT_S):
            transport = await trio.open_unix_socket(str(socket))
    except OSError as error:
        raise WorkloadFailed(
            f"{socket}: no agent can be reached: {error.strerror or error}; is it running, and is this its socket?"
        ) from None
    except trio.TooSlowError:
        raise WorkloadFailed(f"{socket}: the agent does not accept connections") from None
    # No PINGs: the agent is on this machine, and grpc-go ends connections that ask oftener than every 5 minutes.
    connection = GrpcConnection(transport, authority="localhost", scheme="http", probing=False)
    unfit: TrustError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        try:
            why = await _follow(connection, take)
        except TrustError as error:
            unfit, why = error, str(error)
        finally:
            connection.close("nobody follows any longer")
    raise WorkloadFailed(f"{socket}: {why}", unfit)


async def _follow(connection: GrpcConnection, take: Callable[[Sequence[WorkloadSvid]], None]) -> str:
    """Returns why the stream ended."""
    with trio.move_on_after(DIAL_TIMEOUT_S):
        await connection.ready.wait()
    if not connection.ready.is_set():
        return f"what listens there said nothing within {DIAL_TIMEOUT_S:g} s"
    try:
        with connection.open_stream(_FETCH, _METADATA) as stream:
            stream.send(pb.X509SVIDRequest().SerializeToString(), end=True)
            while (answer := await stream.receive()) is not None:
                take(_parse(answer))
    except RpcError as error:
        return _explain(error)
    except DecodeError:
        return "the agent's answer is malformed"
    return "the agent ended the stream"


def _parse(answer: bytes) -> tuple[WorkloadSvid, ...]:
    message = pb.X509SVIDResponse.FromString(answer)
    return tuple(
        WorkloadSvid(svid.spiffe_id, svid.x509_svid, svid.x509_svid_key, svid.bundle) for svid in message.svids
    )


def _explain(error: RpcError) -> str:
    if error.status == GrpcStatus.PERMISSION_DENIED:
        return f"the agent knows no registration entry for this process: {error.message}"
    return f"the agent ended the stream: {error}"
