"""A nameserver for tests: UDP on loopback, a few names whose addresses may change."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from types import TracebackType

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer:
    """`with NameServer(ttl_s) as server`: answers for what is in `hosts`, name to IPv4 addresses."""

    def __init__(self, ttl_s: int) -> None:
        self.ttl_s = ttl_s
        self.hosts: dict[str, list[str]] = {}
        self.asked: Counter[str] = Counter()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An empty datagram to itself ends the thread; closing the socket would not wake it.
        self._sock.sendto(b"", self._sock.getsockname())
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        while True:
            data, client = self._sock.recvfrom(4096)
            if not data:
                return
            self._sock.sendto(self._answer(dns.message.from_wire(data)).to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        self.asked[name] += 1
        if name not in self.hosts:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A and self.hosts[name]:
            answer.answer.append(dns.rrset.from_text(question.name, self.ttl_s, "IN", "A", *self.hosts[name]))
        return answer
