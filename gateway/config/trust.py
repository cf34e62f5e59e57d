"""The section `trust` of cluster.yaml: where this cluster's identity comes from, and who may read its bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from discovery.config_values import Fault, FilePath, ListenAddress, Location, Section, duration
from trust.ca_files import CA_FILES, KEY_FILE


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
    bundle_endpoint: BundleEndpointConfig | None = None

    def faults(self, at: Location) -> Iterator[Fault]:
        """What does not fit together. `at` is where this section stands."""
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
