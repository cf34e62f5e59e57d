"""A real SPIRE server and agent for tests, on loopback and Unix sockets, with data of their own.

`spire-server` and `spire-agent` are used where they are installed. The node is attested by a join token, workloads by
their user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from gateway.demo.waiting import wait_until
from tests.ports import free_port
from trust.certificate import encode_certificate
from trust.fingerprint import fingerprint_of
from trust.spiffe_id import SpiffeId

SERVER, AGENT = shutil.which("spire-server"), shutil.which("spire-agent")

_SERVER_CONFIG = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{directory}/server.sock"
  trust_domain = "{trust_domain}"
  data_dir = "{directory}/server"
  ca_ttl = "{ca_ttl}"
  default_x509_svid_ttl = "{svid_ttl}"
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "{directory}/server/data.sqlite3"
    }}
  }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
"""
_AGENT_CONFIG = """
agent {{
  data_dir = "{directory}/agent"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{directory}/agent.sock"
  trust_domain = "{trust_domain}"
  insecure_bootstrap = true
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "disk" {{ plugin_data {{ directory = "{directory}/agent" }} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""


class Spire:
    """Both processes, and the commands that an operator gives the server."""

    def __init__(self, directory: Path, trust_domain: str, svid_ttl: str, ca_ttl: str) -> None:
        self.directory = directory
        self.trust_domain = trust_domain
        self.agent_socket = directory / "agent.sock"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        facts = {
            "directory": directory,
            "port": free_port(),
            "trust_domain": trust_domain,
            "svid_ttl": svid_ttl,
            "ca_ttl": ca_ttl,
        }
        for name in ("server", "agent"):
            (directory / name).mkdir(parents=True)
        (directory / "server.conf").write_text(_SERVER_CONFIG.format(**facts))
        (directory / "agent.conf").write_text(_AGENT_CONFIG.format(**facts))

    def command(self, *arguments: str) -> str:
        """One `spire-server` command; its output."""
        line = [str(SERVER), *arguments, "-socketPath", str(self.directory / "server.sock")]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise OSError(f"{' '.join(line[1:3])}: {done.stdout}{done.stderr}")
        return done.stdout

    def register(self, identity: SpiffeId) -> str:
        """Gives `identity` to whatever runs as this user, as docs/operations.md says; the entry's id."""
        entry = ("-parentID", f"spiffe://{self.trust_domain}/agent", "-selector", f"unix:uid:{os.getuid()}")
        said = self.command("entry", "create", *entry, "-spiffeID", str(identity))
        return next(line.split(":")[1].strip() for line in said.splitlines() if line.startswith("Entry ID"))

    def unregister(self, entry: str) -> None:
        self.command("entry", "delete", "-entryID", entry)

    @property
    def root(self) -> str:
        """The fingerprint that peers pin."""
        certificates = x509.load_pem_x509_certificates(self.command("bundle", "show").encode())
        return fingerprint_of(encode_certificate(certificates[0]))

    def start_server(self) -> None:
        self._start("server", [str(SERVER)])
        wait_until(lambda: self.command("healthcheck"), "the SPIRE server is healthy", timeout_s=60)

    def start_agent(self) -> None:
        """As a new node the first time; after that it is known by what it keeps."""
        line = [str(AGENT)]
        token = self.directory / "token"
        if not token.exists():
            said = self.command("token", "generate", "-spiffeID", f"spiffe://{self.trust_domain}/agent")
            token.write_text(said.partition("Token: ")[2].strip())
        self._start("agent", line, "-joinToken", token.read_text())
        wait_until(self.agent_socket.exists, "the SPIRE agent listens", timeout_s=60)

    def stop(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        process.wait(30)

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.directory.glob("*.log")))

    def _start(self, name: str, line: Sequence[str], *options: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            command = [*line, "run", "-config", str(self.directory / f"{name}.conf"), *options]
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def close(self) -> None:
        for name in list(self._processes):
            self.stop(name)


@contextmanager
def spire(directory: Path, trust_domain: str, *, svid_ttl: str, ca_ttl: str = "24h") -> Iterator[Spire]:
    """A server and an agent that run, and have issued nothing to workloads yet. `directory` must have a short path, for
    the sockets in it."""
    made = Spire(directory, trust_domain, svid_ttl, ca_ttl)
    try:
        made.start_server()
        made.start_agent()
        yield made
    except BaseException:
        print(f"--- SPIRE\n{made.log}")
        raise
    finally:
        made.close()
