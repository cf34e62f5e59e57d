"""cluster.yaml: read, refused with a clear message for everything that is wrong with it, or handed on as `Config`.

Only the controller and the command line load this package: workers get what they need in the snapshot.
"""

from gateway.config.load import Validation, load_config, parse_config, validate_config
from gateway.config.model import Config, FailoverConfig, GatewayConfig, StatusConfig, TrustConfig
from gateway.config.problems import ConfigError, Problem

__all__ = [
    "Config",
    "ConfigError",
    "FailoverConfig",
    "GatewayConfig",
    "Problem",
    "StatusConfig",
    "TrustConfig",
    "Validation",
    "load_config",
    "parse_config",
    "validate_config",
]
