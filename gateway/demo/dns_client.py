"""DNS as an outside client asks it: dig where it is installed, else dnspython."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import msgspec

_TIMEOUT_S = 5.0


class DnsAnswer(msgspec.Struct, frozen=True):
    """`records` are in the text form of zone files, without owner, ttl and type."""

    rcode: str
    records: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rcode}: {', '.join(self.records) or 'no record'}"


class DnsQuestion(msgspec.Struct, frozen=True):
    """A question to the server at `server` ("host:port")."""

    name: str
    server: str
    type: str = "A"
    tcp: bool = False

    @property
    def command(self) -> str:
        """The dig line that asks the same."""
        return shlex.join(["dig", *self._arguments(), "+short"])

    def _arguments(self) -> list[str]:
        host, _, port = self.server.rpartition(":")
        return [f"@{host}", "-p", port, self.name, self.type, "+tcp" if self.tcp else "+notcp"]

    def ask(self) -> DnsAnswer:
        """Raises OSError when no answer comes."""
        return self._ask_by_dig() if shutil.which("dig") else self._ask_by_library()

    def _ask_by_dig(self) -> DnsAnswer:
        # -r: without the user's own ~/.digrc.
        command = ["dig", "-r", *self._arguments(), "+noall", "+comments", "+answer", "+tries=2", "+time=3"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        codes = [line.partition("status: ")[2].partition(",")[0] for line in lines if "status: " in line]
        if done.returncode != 0 or not codes:
            raise OSError(f"dig got no answer from {self.server}: {done.stdout.strip()}")
        fields = [line.split(None, 4) for line in lines if line and not line.startswith(";")]
        return DnsAnswer(codes[0], tuple(field[4] for field in fields if len(field) == 5 and field[3] == self.type))

    def _ask_by_library(self) -> DnsAnswer:
        host, _, port = self.server.rpartition(":")
        ask = dns.query.tcp if self.tcp else dns.query.udp
        reply = ask(dns.message.make_query(self.name, self.type), host, _TIMEOUT_S, int(port))
        wanted = dns.rdatatype.from_text(self.type)
        records = tuple(str(record) for rrset in reply.answer if rrset.rdtype == wanted for record in rrset)
        return DnsAnswer(dns.rcode.to_text(reply.rcode()), records)
