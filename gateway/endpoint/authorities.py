"""Which authorities may sign the certificates of local services' endpoints: from files that may change, or our own."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from discovery.model import LocalService, ServiceName
from gateway.snapshot import UpstreamTls
from trust.certificate import parse_certificate
from trust.errors import PeerRejected
from trust.source import TrustSource

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
MAX_CA_FILE_BYTES = 1 << 20


class EndpointAuthorities:
    """Reads CA files when they change. A file that became unreadable, or holds no certificate any more, keeps what it
    said before; `problems` says so by service.

    Args:
        own: this cluster's trust. All roots of its bundle count, as while one follows the other an endpoint's
            certificate may be under either.
    """

    def __init__(self, own: TrustSource) -> None:
        self.problems: dict[ServiceName, str] = {}
        self._own = own
        self._files: dict[str, tuple[tuple[int, int, int], tuple[bytes, ...]]] = {}
        self._given: dict[ServiceName, UpstreamTls] = {}

    def of(self, service: LocalService | None) -> UpstreamTls | None:
        """How a service's endpoints are spoken to now; None for plain text."""
        if service is None or service.tls is None:
            return None
        tls = self._given[service.name] = self._compile(service)
        return tls

    def changed(self, services: Mapping[ServiceName, LocalService]) -> set[ServiceName]:
        """The services whose `of` differs from what was last given out. Forgets those that are gone."""
        for name in self._given.keys() - services.keys():
            self._forget(name)
        changed = set()
        for name, given in [*self._given.items()]:
            if services[name].tls is None:
                self._forget(name)
            elif self._compile(services[name]) != given:
                changed.add(name)
        return changed

    def _forget(self, name: ServiceName) -> None:
        self._given.pop(name, None)
        self.problems.pop(name, None)

    def _compile(self, service: LocalService) -> UpstreamTls:
        assert service.tls is not None
        self.problems.pop(service.name, None)
        if not service.tls.ca_file:
            return UpstreamTls(service.tls.server_name, self._own.bundle(0).authorities)
        try:
            roots = self._read(service.tls.ca_file)
        except (OSError, ValueError) as error:
            _, roots = self._files.get(service.tls.ca_file, ((0, 0, 0), ()))
            kept = "what it said before stays in use" if roots else "none of its endpoints is used"
            why = error.strerror if isinstance(error, OSError) else error
            self.problems[service.name] = f"tls.ca_file {service.tls.ca_file}: {why}; {kept}"
        return UpstreamTls(service.tls.server_name, roots)

    def _read(self, path: str) -> tuple[bytes, ...]:
        """Raises OSError, ValueError."""
        status = Path(path).stat()
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._files.get(path)
        if known is not None and known[0] == seen:
            return known[1]
        roots = _parse(Path(path))
        self._files[path] = (seen, roots)
        return roots


def _parse(path: Path) -> tuple[bytes, ...]:
    with path.open("rb") as file:
        content = file.read(MAX_CA_FILE_BYTES + 1)
    if len(content) > MAX_CA_FILE_BYTES:
        raise ValueError(f"larger than {MAX_CA_FILE_BYTES // 1024} KiB")
    try:
        roots = [ssl.PEM_cert_to_DER_cert(block) for block in _BLOCK.findall(content.decode("ascii", "replace"))]
        for der in roots:
            parse_certificate(der)
    except (PeerRejected, ValueError) as error:
        raise ValueError(f"a certificate in it can't be read: {error}") from None
    if not roots:
        raise ValueError("there is no PEM certificate in it")
    return tuple(roots)
