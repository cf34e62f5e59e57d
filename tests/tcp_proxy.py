"""A TCP proxy between a client and one server on loopback, for tests that cut the wire."""

from __future__ import annotations

import trio


class TcpProxy:
    """Forwards to `port` while `run` runs, from a port of its own. `freeze` leaves connections open and silent, `cut`
    ends them and refuses new ones; `mend` ends both."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target = port
        self._open = trio.Event()
        self._open.set()
        self._refuses = False
        self._connections: set[trio.CancelScope] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """Nothing arrives any longer, either way, and nobody is told. What was sent arrives when it is mended."""
        self._open = trio.Event()

    def cut(self) -> None:
        self._refuses = True
        for scope in self._connections:
            scope.cancel()

    def mend(self) -> None:
        self._refuses = False
        self._open.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, client: trio.SocketStream) -> None:
        if self._refuses:
            return
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                server = await trio.open_tcp_stream("127.0.0.1", self._target)
                async with server, trio.open_nursery() as nursery:
                    nursery.start_soon(self._forward, client, server, nursery.cancel_scope)
                    await self._forward(server, client, nursery.cancel_scope)
            except OSError:
                pass
            finally:
                self._connections.discard(scope)

    async def _forward(self, source: trio.SocketStream, sink: trio.SocketStream, done: trio.CancelScope) -> None:
        try:
            async for chunk in source:
                await self._open.wait()
                await sink.send_all(chunk)
        except trio.BrokenResourceError:
            pass
        done.cancel()
