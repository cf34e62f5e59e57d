"""The section `exports` of cluster.yaml: what is exported by namespace, name pattern and label, without a word in the
services themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from pydantic import Field

from discovery.config import ExportConfig, Labels, ServiceConfig
from federation.config import ServicePattern


class ExportRule(ExportConfig):
    """Which services it is for, and which clusters may see and reach them."""

    services: ServicePattern = Field(description='a pattern over namespace/name, like "shop/*"')
    labels: Labels = Field(default_factory=dict)

    def fits(self, service: ServiceConfig) -> bool:
        """Whether the service has such a name, and all of the labels."""
        return fnmatchcase(str(service.service_name), self.services) and self.labels.items() <= service.labels.items()


def export_of(service: ServiceConfig, rules: Iterable[ExportRule]) -> ExportConfig | None:
    """What the service itself says, else the first rule that it fits; None: nobody may see it."""
    if service.export is not None:
        return service.export
    return next((rule for rule in rules if rule.fits(service)), None)


def unused(rules: Sequence[ExportRule], services: Iterable[ServiceConfig]) -> list[int]:
    """The places of the rules that no service goes by."""
    used = {id(export_of(service, rules)) for service in services}
    return [index for index, rule in enumerate(rules) if id(rule) not in used]
