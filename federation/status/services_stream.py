"""`/v1/services`, made and sent page by page: ten thousand services must not hold the controller's loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import msgspec
from starlette.types import Receive, Scope, Send

from federation.status.service_values import ServiceDocument


class ServicesStream:
    """An ASGI application that answers one request with a `ServicesDocument`. What changes meanwhile is in or not."""

    def __init__(
        self, cluster: str, pages: AsyncGenerator[Sequence[ServiceDocument], None], headers: Mapping[str, str]
    ) -> None:
        self._cluster = cluster
        self._pages = pages
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self._headers, (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        before = b'{"cluster":%s,"services":[' % msgspec.json.encode(self._cluster)
        async with aclosing(self._pages) as pages:
            async for page in pages:
                if page:
                    body = before + msgspec.json.encode(page)[1:-1]
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    before = b","
        end = b"]}" if before == b"," else before + b"]}"
        await send({"type": "http.response.body", "body": end})
