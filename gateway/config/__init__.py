"""cluster.yaml: read, refused with a clear message for everything that is wrong with it, or handed on as `Config`.

Only the controller and the command line load this package: workers get what they need in the snapshot.
"""

from gateway.config.failover import EjectionConfig, FailoverConfig, ServiceFailoverConfig
from gateway.config.load import ConfigReader, Validation, load_config, parse_config, validate_config
from gateway.config.model import Config, GatewayConfig, StatusConfig
from gateway.config.problems import ConfigError, Problem
from gateway.config.traffic import LimitsForAll, RetriesForAll, TimeoutsForAll
from gateway.config.trust import BundleEndpointConfig, TrustConfig

__all__ = [
    "BundleEndpointConfig",
    "Config",
    "ConfigError",
    "ConfigReader",
    "EjectionConfig",
    "FailoverConfig",
    "GatewayConfig",
    "LimitsForAll",
    "Problem",
    "RetriesForAll",
    "ServiceFailoverConfig",
    "StatusConfig",
    "TimeoutsForAll",
    "TrustConfig",
    "Validation",
    "load_config",
    "parse_config",
    "validate_config",
]
