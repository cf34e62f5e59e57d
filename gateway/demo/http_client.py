"""HTTP as an outside client speaks it: curl where it is installed, else Python's own library and h2."""

from __future__ import annotations

import functools
import http.client
import shlex
import shutil
import socket
import subprocess

import h2.config
import h2.connection
import h2.events
import msgspec

from gateway.demo.waiting import POLL_S, pause, seconds

TIMEOUT_S = 10.0
_AGAIN_S = 20.0
_READ_BYTES = 65_536


class HttpAnswer(msgspec.Struct, frozen=True):
    """What came back. Field names are in lower case."""

    version: str
    """`1.1` or `2`."""
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def served_by(self) -> str:
        """The cluster that answered; empty if it was none of the demo's services."""
        return self.headers.get("served-by", "")

    def __str__(self) -> str:
        text = self.body[:200].decode(errors="replace").strip()
        return f"HTTP/{self.version} {self.status}: {text}"


class HttpRequest(msgspec.Struct, frozen=True):
    """A GET of http://<authority><path>, sent to `address` ("host:port") whatever the authority's name says."""

    authority: str
    address: str
    path: str = "/"
    http2: bool = False
    by_resolve: bool = False
    """Shown as a name that is looked up at a virtual IP, in place of a connection to a gateway's listener."""

    @property
    def command(self) -> str:
        """The curl line that does the same."""
        return shlex.join(["curl", *self._arguments()])

    def _arguments(self) -> list[str]:
        version = "--http2-prior-knowledge" if self.http2 else "--http1.1"
        host, _, port = self.address.rpartition(":")
        route = ["--resolve", f"{self.authority}:{host}"] if self.by_resolve else ["--connect-to", f"::{host}:{port}"]
        return ["-si", version, *route, f"http://{self.authority}{self.path}"]

    def send(self) -> HttpAnswer:
        """Raises OSError when no answer comes."""
        if curl_speaks("HTTP2" if self.http2 else "http"):
            return self._send_by_curl()
        return _get_http2(self) if self.http2 else _get_http1(self)

    def send_until(self, cluster: str) -> HttpAnswer:
        """Asks again until that cluster answers, for a moment at most: on a machine that stands still another one may
        have to, once. Returns the last answer. Raises OSError when none comes."""
        give_up_at = seconds() + _AGAIN_S
        while (answer := self.send()).served_by != cluster and seconds() < give_up_at:
            pause(POLL_S)
        return answer

    def _send_by_curl(self) -> HttpAnswer:
        # The user's own settings and proxies have no place here.
        command = ["curl", "-q", "--noproxy", "*", "--max-time", str(TIMEOUT_S), *self._arguments()]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            raise OSError(f"curl ended with status {done.returncode} (man curl, EXIT CODES)")
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        status_line, *fields = head.decode("latin-1").split("\r\n")
        version, status = status_line.removeprefix("HTTP/").split(" ")[:2]
        pairs = (field.partition(":") for field in fields)
        return HttpAnswer(version, int(status), {name.lower(): value.strip() for name, _, value in pairs}, body)


@functools.cache
def curl_speaks(word: str) -> bool:
    """Whether there is a curl that was built with a protocol or feature."""
    if shutil.which("curl") is None:
        return False
    said = subprocess.run(["curl", "-q", "--version"], capture_output=True, text=True, check=False).stdout
    return word in said.split()


def _get_http1(request: HttpRequest) -> HttpAnswer:
    host, _, port = request.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", request.path, headers={"host": request.authority})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return HttpAnswer("1.1", response.status, headers, response.read())
    except http.client.HTTPException as error:
        raise OSError(f"{request.address}: {error!r}") from error
    finally:
        connection.close()


def _get_http2(request: HttpRequest) -> HttpAnswer:
    host, _, port = request.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as sock:
        return Http2Client(sock).get(request.authority, request.path)


class Http2Client:
    """HTTP/2 with prior knowledge on a blocking socket (also a TLS one), one request at a time."""

    def __init__(self, sock: socket.socket, scheme: str = "http") -> None:
        self.draining = False
        """The server wants no more requests on this connection (GOAWAY)."""
        self._sock = sock
        self._scheme = scheme
        self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._http2.initiate_connection()

    def get(self, authority: str, path: str) -> HttpAnswer:
        """Raises OSError when the connection ends before the answer does."""
        stream = self._http2.get_next_available_stream_id()
        head = [(":method", "GET"), (":scheme", self._scheme), (":authority", authority), (":path", path)]
        self._http2.send_headers(stream, head, end_stream=True)
        headers: dict[str, str] = {}
        body = bytearray()
        while True:
            for event in self._exchange():
                if isinstance(event, h2.events.ResponseReceived):
                    headers = {str(name): str(value) for name, value in event.headers}
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    self._http2.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamEnded):
                    self._sock.sendall(self._http2.data_to_send())
                    return HttpAnswer("2", int(headers[":status"]), headers, bytes(body))
                elif isinstance(event, h2.events.ConnectionTerminated) and (event.last_stream_id or 0) >= stream:
                    self.draining = True
                elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise OSError(f"the HTTP/2 stream ended: {event!r}")

    def _exchange(self) -> list[h2.events.Event]:
        """Sends what is to be sent, and receives once."""
        self._sock.sendall(self._http2.data_to_send())
        data = self._sock.recv(_READ_BYTES)
        if not data:
            raise OSError("the connection ended before the answer did")
        return self._http2.receive_data(data)
