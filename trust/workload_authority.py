"""A cluster's trust when a SPIFFE Workload API is its source: identities come ready made, with their keys.

Such an API signs no requests of ours, so nobody certifies the key that signs records. The controller's own SVID does:
its key signs the bundle, which holds the record key, anew whenever the SVID is renewed.
"""

from __future__ import annotations

from trust.authority import REFRESH_HINT_S
from trust.bundle import Bundle, RecordKey
from trust.fingerprint import fingerprint_of
from trust.keys import PrivateKey
from trust.workload_svid import WorkloadIdentity


class WorkloadAuthority:
    """Implements `trust.source.TrustSource`. `identity` is the last that was good."""

    def __init__(self, trust_domain: str, identity: WorkloadIdentity, record_key: PrivateKey) -> None:
        self.trust_domain = trust_domain
        self.identity = identity
        self.record_key = record_key

    def __repr__(self) -> str:
        return f"<WorkloadAuthority {self.trust_domain} {self.fingerprint}>"

    @property
    def root_der(self) -> bytes:
        return self.identity.root_der

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.root_der)

    @property
    def vouching_key(self) -> PrivateKey:
        return self.identity.controller.key

    @property
    def record_chain(self) -> tuple[bytes, ...]:
        return (*self.identity.controller.chain, self.root_der)

    @property
    def sequence(self) -> int:
        return 0  # What was said last is known from the records.

    def bundle(self, sequence: int) -> Bundle:
        return Bundle(
            trust_domain=self.trust_domain,
            sequence=sequence,
            refresh_hint_s=REFRESH_HINT_S,
            authorities=self.identity.roots,
            record_keys=(RecordKey.of(self.record_key.public_key),),
        )
