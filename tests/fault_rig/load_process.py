"""`python -m tests.fault_rig.load_process PLAN`: a steady load, in a process of its own so that nothing else delays it.

The plan is JSON (`LoadPlan`). Every sample is a line of JSON on standard output as soon as it is known. It ends when
its standard input does.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import httptools
import msgspec
import trio

from gateway.demo.waiting import seconds
from tests.fault_rig.samples import LoadPlan, Sample, next_due

_READ_BYTES = 65_536
_TCP_LINE = b"thirty-two bytes of a long stream"
_BODY = b"x" * 2_000


class Answer:
    """One HTTP/1.1 response, as it comes."""

    def __init__(self) -> None:
        self.done = False
        self.is_last = False
        """Whether the connection ends with it."""
        self.fields: dict[bytes, bytes] = {}
        self._parser = httptools.HttpResponseParser(self)

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.lower()] = value

    def on_message_complete(self) -> None:
        self.done = True
        # Only here does the parser know (RFC 9112 section 9.6).
        self.is_last = not self._parser.should_keep_alive()


class HttpClient:
    """Asks again and again over one connection, which it keeps."""

    def __init__(self, plan: LoadPlan, kind: str, number: int) -> None:
        self._plan = plan
        self._kind = kind
        self._client = f"{kind} {number}"
        self._stream: trio.SocketStream | None = None
        head = f"{kind.upper()} /{number} HTTP/1.1\r\nhost: {plan.authority}\r\n"
        self._request = f"{head}\r\n".encode()
        if kind == "post":
            self._request = f"{head}content-length: {len(_BODY)}\r\n\r\n".encode() + _BODY

    async def once(self) -> Sample:
        began = seconds()
        status, served_by, problem = 0, "", ""
        try:
            with trio.fail_after(self._plan.timeout_s):
                answer = await self._ask()
            status = answer.status
            served_by = answer.fields.get(b"served-by", b"").decode()
            if status != 200:
                problem = answer.fields.get(b"isthmus-reason", b"").decode() or f"status {status}"
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, httptools.HttpParserError) as error:
            problem = repr(error)
        if not status and self._stream is not None:
            await trio.aclose_forcefully(self._stream)
            self._stream = None
        return Sample(self._kind, self._client, began, seconds(), status, served_by, problem)

    async def _ask(self) -> Answer:
        if self._stream is None:
            self._stream = await trio.open_tcp_stream(*self._plan.http)
        await self._stream.send_all(self._request)
        answer = Answer()
        while not answer.done:
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                raise OSError("the connection ended before the answer did")
            answer.feed(data)
        if answer.is_last:
            await trio.aclose_forcefully(self._stream)
            self._stream = None
        return answer


class TcpClient:
    """One long stream: a line goes out, the echo comes back. When it breaks, another one is opened."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._stream: trio.SocketStream | None = None

    async def once(self) -> Sample:
        began, problem = seconds(), ""
        try:
            with trio.fail_after(self._plan.timeout_s):
                await self._echo()
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            problem = repr(error)
            if self._stream is not None:
                await trio.aclose_forcefully(self._stream)
            self._stream = None
        return Sample("tcp", "tcp", began, seconds(), 0 if problem else 200, "", problem)

    async def _echo(self) -> None:
        if self._stream is None:
            assert self._plan.tcp is not None
            self._stream = await trio.open_tcp_stream(*self._plan.tcp)
        await self._stream.send_all(_TCP_LINE)
        received = 0
        while received < len(_TCP_LINE):
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                raise OSError("the stream ended")
            received += len(data)


async def _repeat(once: Callable[[], Awaitable[Sample]], interval_s: float, first_s: float) -> None:
    """At a fixed pace, each client in its own moment of the interval."""
    await trio.sleep(first_s)
    due = trio.current_time()
    while True:
        sample = await once()
        print(msgspec.json.encode(sample).decode(), flush=True)
        due = next_due(due, interval_s, trio.current_time())
        await trio.sleep_until(due)


async def run(plan: LoadPlan) -> None:
    async with trio.open_nursery() as nursery:
        clients = [HttpClient(plan, "get", number).once for number in range(plan.get_clients)]
        clients += [HttpClient(plan, "post", number).once for number in range(plan.post_clients)]
        if plan.tcp is not None:
            clients.append(TcpClient(plan).once)
        for number, once in enumerate(clients):
            interval_s = plan.interval_ms / 1000
            nursery.start_soon(_repeat, once, interval_s, interval_s * number / len(clients))
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run, msgspec.json.decode(sys.argv[1], type=LoadPlan))
