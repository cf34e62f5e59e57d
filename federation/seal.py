"""What makes a record on disk worth believing without its signature being checked again.

A signature costs about a tenth of a millisecond, so that 100,000 records take ten seconds to verify; a MAC costs a
fiftieth of that. A journal line therefore carries a MAC by a key of this gateway's own over the place, the public key
and the bytes of the record that were verified under it.

Why that is safe:

- It stands in for one thing alone: "these bytes fit that public key". Whether that key is believed is asked anew, of
  the bundle, whose own signature and chain to the pinned root are always checked. A revoked or replaced key drops what
  it signed, and so does another root: the MAC names the key itself, not the name that a bundle gives it.
- Place, sequence, time and form of the record are checked as ever.
- Who can make a MAC can read a file of mode 0600 beside the CA's private key, with which he could do worse. Who can
  write the journals and not read that file can put back what this gateway wrote, as he could with signed records.
- A seal that is missing or does not fit means no more than that the signature is checked.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path as FilePath

from trust.errors import TrustError
from trust.keys import require_private, write_durably

_KEY_BYTES = 32
_SEAL_BYTES = 16


class Seal:
    """Makes and checks the MACs (keyed BLAKE2b of 128 bits, RFC 7693, in hexadecimal) of one gateway's journals."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "<Seal, redacted>"

    def make(self, cluster: str, path: str, key_id: bytes, raw: bytes) -> str:
        """For `raw`, verified at `path` of `cluster` under the public key that `key_id` stands for.

        None of the first three holds a NUL byte, so no two different tuples make the same message.
        """
        message = b"\0".join((cluster.encode(), path.encode(), key_id, raw))
        return hashlib.blake2b(message, key=self._key, digest_size=_SEAL_BYTES).hexdigest()

    def fits(self, seal: str, cluster: str, path: str, key_id: bytes, raw: bytes) -> bool:
        return bool(key_id) and hmac.compare_digest(seal.encode(), self.make(cluster, path, key_id, raw).encode())


def load_seal(file: FilePath) -> Seal:
    """With the key in `file`, or a new one there when it can't be used: what was sealed before is then verified once
    more. A disk that refuses costs no more than that either."""
    try:
        with file.open("rb") as content:
            require_private(os.fstat(content.fileno()), file, "chmod 600")
            key = content.read(_KEY_BYTES + 1)
        if len(key) == _KEY_BYTES:
            return Seal(key)
    except (OSError, TrustError):
        pass
    key = secrets.token_bytes(_KEY_BYTES)
    try:
        write_durably(file, key)
    except OSError:
        pass
    return Seal(key)
