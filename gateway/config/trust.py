"""The section `trust` of cluster.yaml: where this cluster's identity comes from, and who may read its bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from discovery.config_values import (
    Fault,
    FilePath,
    ListenAddress,
    Location,
    Section,
    duration,
    refuse,
    show,
    text_of,
)
from trust.ca_files import CA_FILES, KEY_FILE

_MAX_SOCKET_BYTES = 107
"""What a Unix socket's address has room for (unix(7))."""


def _socket(value: Any) -> Path:
    expected = "unix:// and an absolute path, like unix:///run/spire/agent.sock"
    text = text_of(value, expected)
    path = text.removeprefix("unix://")
    if path == text or not path.startswith("/") or "\0" in path or len(path.encode()) > _MAX_SOCKET_BYTES:
        raise refuse(f"{show(text)} is not the socket of a Workload API", expected)
    return Path(path)


class BundleEndpointConfig(Section):
    """Where our bundle is served to whoever asks (SPIFFE Federation, section 5). It has nothing secret in it."""

    listen: ListenAddress
    profile: Literal["https_web", "https_spiffe"]
    cert_file: FilePath | None = None
    key_file: FilePath | None = None

    def faults(self, at: Location) -> Iterator[Fault]:
        """What does not fit together. `at` is where this section stands."""
        for key in ("cert_file", "key_file"):
            given = getattr(self, key) is not None
            if self.profile == "https_web" and not given:
                yield Fault(
                    (*at, key), "missing: with https_web a web server's certificate shows who answers", "a path"
                )
            elif self.profile == "https_spiffe" and given:
                yield Fault((*at, key), "of no use: with https_spiffe the gateway shows its own SVID", "no such key")


class TrustConfig(Section):
    """Where this cluster's identity comes from: a root of its own, unless a CA is named."""

    svid_lifetime_s: Annotated[float, duration("10s", "24h")] = Field(default=3600.0, alias="svid_lifetime")
    ca_dir: FilePath | None = None
    """A CA of the operator's, in cert-manager's layout; None: the gateway makes its own root."""
    workload_api: Annotated[Path, PlainValidator(_socket)] | None = None
    """The socket of a SPIFFE Workload API that gives SVIDs, keys and roots."""
    bundle_endpoint: BundleEndpointConfig | None = None

    def faults(self, at: Location) -> Iterator[Fault]:
        """What does not fit together. `at` is where this section stands."""
        if self.ca_dir is not None and self.workload_api is not None:
            yield Fault((*at, "workload_api"), "there is a ca_dir already", "one source of identity")
        if self.bundle_endpoint is not None:
            yield from self.bundle_endpoint.faults((*at, "bundle_endpoint"))

    def files(self, at: Location) -> Iterator[tuple[Location, Path, bool]]:
        """Every file that must be there: where it is named, its path, and whether it is a secret."""
        if self.ca_dir is not None:
            for name in CA_FILES:
                yield (*at, "ca_dir"), self.ca_dir / name, name == KEY_FILE
        endpoint = self.bundle_endpoint
        if endpoint is not None and endpoint.cert_file is not None and endpoint.key_file is not None:
            yield (*at, "bundle_endpoint", "cert_file"), endpoint.cert_file, False
            yield (*at, "bundle_endpoint", "key_file"), endpoint.key_file, True
