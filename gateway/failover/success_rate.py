"""Whose success rate is below what its peers have: Envoy's mean and standard deviation. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final

# Among places that are all but perfect, a deviation is tiny: one request in a thousand would make an outlier. A place
# is only worth avoiding when it fails at least so much more often than the others.
LEAST_DIFFERENCE: Final = 0.05


def outliers(rates: Mapping[str, float], stdev_factor: float) -> list[str]:
    """The places whose success rate (0 to 1) is below mean - factor × standard deviation of all.

    >>> outliers({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 0.5}, 1.9)
    ['e']
    """
    mean = sum(rates.values()) / len(rates)
    stdev = sqrt(sum((rate - mean) ** 2 for rate in rates.values()) / len(rates))
    threshold = min(mean - stdev_factor * stdev, mean - LEAST_DIFFERENCE)
    return [name for name, rate in rates.items() if rate < threshold]
