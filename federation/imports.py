"""Which of the services that are exported to us we let in."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence

from discovery.model import ServiceName


class ImportPolicy:
    """`patterns` are globs over `namespace/name`, by peer: `{"west": ["shop/*"]}`. A peer that is not named is not
    restricted: all that it exports to us comes in."""

    def __init__(self, patterns: Mapping[str, Sequence[str]]) -> None:
        self._allowed = {
            cluster: re.compile("|".join(fnmatch.translate(glob) for glob in globs)) if globs else None
            for cluster, globs in patterns.items()
        }

    def admits(self, cluster: str, name: ServiceName) -> bool:
        if cluster not in self._allowed:
            return True
        allowed = self._allowed[cluster]
        return allowed is not None and allowed.match(str(name)) is not None
