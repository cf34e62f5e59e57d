"""The documentation is true: its configurations load, and its reference lists every key and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from discovery.config import (
    DnsConfig,
    EndpointConfig,
    ExportConfig,
    HealthConfig,
    PortConfig,
    ServiceConfig,
    TlsConfig,
    WorkloadConfig,
)
from discovery.traffic_config import LimitsConfig, RetriesConfig, TimeoutsConfig
from federation.bundle_config import BundleSourceConfig
from federation.config import ClusterConfig, EtcdSection, FreshnessConfig, ImportsConfig, PeerConfig
from gateway.config import (
    BundleEndpointConfig,
    Config,
    EjectionConfig,
    FailoverConfig,
    GatewayConfig,
    LimitsForAll,
    RetriesForAll,
    ServiceFailoverConfig,
    StatusConfig,
    TimeoutsForAll,
    TrustConfig,
    parse_config,
)
from gateway.config.exports import ExportRule

_ROOT = Path(__file__).parents[4]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_YAML = re.compile(r"^([ \t]*)```ya?ml[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_SECTIONS: dict[str, type[BaseModel]] = {
    "The file": Config,
    "`cluster`": ClusterConfig,
    "`etcd`": EtcdSection,
    "`peers.<cluster>`": PeerConfig,
    "`gateway`": GatewayConfig,
    "`dns`": DnsConfig,
    "`status`": StatusConfig,
    "`services[]`": ServiceConfig,
    "`services[].ports[]`": PortConfig,
    "`services[].endpoints[]`": EndpointConfig,
    "`services[].health`": HealthConfig,
    "`services[].export`": ExportConfig,
    "`exports[]`": ExportRule,
    "`services[].tls`": TlsConfig,
    "`workloads[]`": WorkloadConfig,
    "`imports`": ImportsConfig,
    "`failover`": FailoverConfig,
    "`failover.ejection`": EjectionConfig,
    "`failover.services.<pattern>`": ServiceFailoverConfig,
    "`services[].timeouts`": TimeoutsConfig,
    "`services[].retries`": RetriesConfig,
    "`services[].limits`": LimitsConfig,
    "`timeouts`": TimeoutsForAll,
    "`retries`": RetriesForAll,
    "`limits`": LimitsForAll,
    "`freshness`": FreshnessConfig,
    "`peers.<cluster>.bundle_endpoint`": BundleSourceConfig,
    "`trust`": TrustConfig,
    "`trust.bundle_endpoint`": BundleEndpointConfig,
}


def _examples() -> Iterator[tuple[str, str]]:
    """Each configuration that a page shows, with where it stands. `# not loadable` in it marks one that is no whole."""
    for page in _PAGES:
        text = page.read_text()
        for block in _YAML.finditer(text):
            indent, content = block[1], block[2]
            example = "".join(line.removeprefix(indent) for line in content.splitlines(keepends=True))
            if example.startswith("federation:") and "# not loadable" not in example:
                yield f"{page.relative_to(_ROOT)}:{text.count(chr(10), 0, block.start()) + 1}", example


@pytest.mark.parametrize("example", [pytest.param(text, id=place) for place, text in _examples()])
def test_every_configuration_shown_loads(example: str) -> None:
    """Whoever copies one from a page starts with a file that works; not even a warning comes."""
    assert [str(problem) for problem in parse_config(example, Path("/etc/isthmus/cluster.yaml")).problems] == []


def test_the_reference_shows_a_whole_configuration() -> None:
    """Guards the test above against finding nothing."""
    assert any(place.startswith("docs/reference/config.md") for place, _ in _examples())


@pytest.mark.parametrize("section", _SECTIONS)
def test_the_reference_lists_every_key(section: str) -> None:
    """A key that is not in the reference does not exist for a user; one that is there and not in the code is worse."""
    page = (_ROOT / "docs/reference/config.md").read_text()
    _, found, rest = page.partition(f"\n## {section}\n")
    assert found, f"no section {section}"
    documented = re.findall(r"^\| `([a-z0-9_]+)` \|", rest.partition("\n## ")[0], re.MULTILINE)
    assert documented == [field.alias or name for name, field in _SECTIONS[section].model_fields.items()]
