"""A steady load of GET requests, from clients that keep their connections, and an account of every answer."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from typing import Protocol

import msgspec

from gateway.demo.http_client import Http2Client
from gateway.demo.waiting import pause, seconds

_TIMEOUT_S = 10.0


class LoadAccount(msgspec.Struct, frozen=True):
    """What the load has seen so far."""

    sent: int
    by_cluster: dict[str, int]
    failures: tuple[str, ...]
    slowest_s: float

    def __str__(self) -> str:
        shares = ", ".join(f"{number} by {cluster}" for cluster, number in sorted(self.by_cluster.items()))
        return f"{self.sent} requests: {shares}; {len(self.failures)} failed; the slowest took {self.slowest_s:.2f} s"


class _Client(Protocol):
    """One connection, opened when it is first needed."""

    name: str

    def get(self) -> tuple[int, str]:
        """Status, and which cluster answered. Raises OSError or HTTPException."""
        ...

    def close(self) -> None: ...


class _Http1Client:
    name = "HTTP/1.1"

    def __init__(self, address: tuple[str, int], authority: str) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=_TIMEOUT_S)
        self._authority = authority

    def get(self) -> tuple[int, str]:
        self._connection.request("GET", "/", headers={"host": self._authority})
        response = self._connection.getresponse()
        response.read()
        return response.status, response.headers.get("served-by", "")

    def close(self) -> None:
        self._connection.close()


class _Http2Client:
    name = "HTTP/2"

    def __init__(self, address: tuple[str, int], authority: str) -> None:
        self._address = address
        self._authority = authority
        self._sock: socket.socket | None = None
        self._client: Http2Client | None = None

    def get(self) -> tuple[int, str]:
        if self._client is None:
            self._sock = socket.create_connection(self._address, timeout=_TIMEOUT_S)
            self._client = Http2Client(self._sock)
        answer = self._client.get(self._authority, "/")
        if self._client.draining:
            self.close()
        return answer.status, answer.served_by

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock = self._client = None


class Load:
    """Clients of one listener: some with HTTP/1.1 and one with HTTP/2, each with one connection that it keeps."""

    def __init__(self, address: str, authority: str, *, http1_clients: int = 4, rate_per_s: float = 80.0) -> None:
        host, _, port = address.rpartition(":")
        where = (host, int(port))
        self._interval_s = (http1_clients + 1) / rate_per_s
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._sent = 0
        self._by_cluster: Counter[str] = Counter()
        self._recent: Counter[str] = Counter()
        self._failures: list[str] = []
        self._slowest_s = 0.0
        clients: list[_Client] = [_Http2Client(where, authority)]
        clients += [_Http1Client(where, authority) for _ in range(http1_clients)]
        self._threads = [threading.Thread(target=self._keep_asking, args=(client,), daemon=True) for client in clients]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def stop(self) -> LoadAccount:
        """Lets the requests under way end, and gives the account."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S + 1)
        return self.account()

    def account(self) -> LoadAccount:
        with self._lock:
            return LoadAccount(self._sent, dict(self._by_cluster), tuple(self._failures), self._slowest_s)

    def take_recent(self) -> dict[str, int]:
        """Answers by cluster since the last call."""
        with self._lock:
            recent, self._recent = self._recent, Counter()
            return dict(recent)

    def _keep_asking(self, client: _Client) -> None:
        while not self._stopping.is_set():
            began = seconds()
            try:
                status, cluster = client.get()
                failure = "" if status == 200 and cluster else f"{client.name}: status {status}"
            except (OSError, http.client.HTTPException) as error:
                cluster, failure = "", f"{client.name}: {error!r}"
                client.close()
            took_s = seconds() - began
            self._note(cluster, failure, took_s)
            pause(max(0.0, self._interval_s - took_s))
        client.close()

    def _note(self, cluster: str, failure: str, took_s: float) -> None:
        with self._lock:
            self._sent += 1
            self._slowest_s = max(self._slowest_s, took_s)
            if failure:
                self._failures.append(f"after {took_s:.2f} s: {failure}")
            else:
                self._by_cluster[cluster] += 1
                self._recent[cluster] += 1
