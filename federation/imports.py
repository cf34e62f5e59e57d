"""Which of the services that are exported to us we let in."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence

from discovery.model import ServiceName
from federation.import_cap import DEFAULT_LIMITS, ImportLimits


class ImportPolicy:
    """`patterns` are globs over `namespace/name` by peer, like `{"west": ["shop/*"]}`, and let in what they name and
    nothing else. None lets in all that is exported to us. `limits` is how much of that is taken from each peer."""

    def __init__(self, patterns: Mapping[str, Sequence[str]] | None, limits: ImportLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._allowed = (
            {
                cluster: re.compile("|".join(map(fnmatch.translate, globs)))
                for cluster, globs in patterns.items()
                if globs
            }
            if patterns is not None
            else None
        )

    def admits(self, cluster: str, name: ServiceName) -> bool:
        if self._allowed is None:
            return True
        allowed = self._allowed.get(cluster)
        return allowed is not None and allowed.match(str(name)) is not None
