"""How cluster.yaml says that an etcd is reached, as the etcd client takes it."""

from __future__ import annotations

from federation.config import EtcdSection
from federation.etcd.config import EtcdConfig
from federation.settings import EtcdSource
from gateway.config import Config


def etcd_config(section: EtcdSection) -> EtcdConfig:
    """Reads the password file. Raises OSError if it can't be read any longer."""
    password = section.password_file.read_text().strip() if section.password_file is not None else ""
    return EtcdConfig(
        endpoints=tuple(section.endpoints),
        ca_file=str(section.ca_file or ""),
        cert_file=str(section.cert_file or ""),
        key_file=str(section.key_file or ""),
        username=section.username,
        password=password,
    )


def peer_source(config: Config, cluster: str) -> EtcdSource | None:
    """Where what that peer says is read; None: in our own etcd, also if its section says the same as ours."""
    section = config.peers[cluster].etcd
    if section is None or section == config.etcd:
        return None
    return EtcdSource(etcd_config(section), section.prefix)
