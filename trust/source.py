"""Where a cluster's trust comes from: its own root, a CA of the operator's, or a SPIFFE Workload API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trust.bundle import Bundle
from trust.keys import PrivateKey


class TrustSource(Protocol):
    """What the rest of a cluster needs to know of its trust domain. What it says may change at any time; who made it
    tells then that it has."""

    @property
    def trust_domain(self) -> str: ...

    @property
    def root_der(self) -> bytes:
        """The root that new peers pin."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of `root_der`, as `trust.fingerprint` writes it."""
        ...

    @property
    def record_key(self) -> PrivateKey:
        """Signs what the cluster writes for others to read. Bundles hold the next one before it signs, and keep the one
        before it, in this order, until nothing is signed with it any more."""
        ...

    @property
    def vouching_key(self) -> PrivateKey:
        """Signs what is read by those who know nothing of us but our root: the bundle, which holds the record key, and
        a request to join. Often the record key itself."""
        ...

    @property
    def record_chain(self) -> Sequence[bytes]:
        """Certifies `vouching_key`: DER, leaf first, with `root_der` and what leads to it. Behind that may come the way
        from a root that is being replaced (`trust.verify.validate_record_chain`)."""
        ...

    @property
    def sequence(self) -> int:
        """The bundle's sequence since it changed last, where that is kept on disk; 0: it is not."""
        ...

    def bundle(self, sequence: int) -> Bundle:
        """What other trust domains need to validate ours."""
        ...
