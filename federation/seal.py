"""What makes records on disk worth believing without their signatures being checked again.

A signature costs about a tenth of a millisecond, so that 100,000 records take ten seconds to verify; a MAC over all of
them costs next to nothing. What is written to a journal at once, and was verified under one public key, is therefore
followed by a MAC by a key of this gateway's own over the cluster, that public key, and the lines.

Why that is safe:

- It stands in for one thing alone: "these records, of these sequences, were accepted at these places, fit that public
  key, and say this". Whether that key is believed is asked anew, of the bundle, whose own signature and chain to the
  pinned root are always checked. A revoked or replaced key drops what it signed, and so does another root: the MAC
  names the key itself, not the name that a bundle gives it.
- What says more than an export is taken apart and checked as ever, and so is an export that a program of another form
  wrote.
- Who can make a MAC can read a file of mode 0600 beside the CA's private key, with which he could do worse. Who can
  write the journals and not read that file can put back what this gateway wrote, as he could with signed records.
- Under no key, which is how addresses are written, it says no more than that this gateway wrote those lines: nothing in
  them is held to be verified by it.
- A seal that is missing or does not fit means no more than that the signatures of its lines are checked.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path as FilePath

from trust.errors import TrustError
from trust.keys import require_private, write_durably

_KEY_BYTES = 32
_PURPOSE = b"isthmus journal"


class Seal:
    """Makes and checks the MACs (HMAC-SHA-256, RFC 2104, in hexadecimal) of one gateway's journals."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "<Seal, redacted>"

    def make(self, cluster: str, key_id: str, form: bytes, lines: bytes) -> str:
        """For `lines` of the journal of `cluster`, whose records were verified under the public key that `key_id`
        stands for. `form` (32 bytes) stands for how they are written.

        Neither of the first two holds a NUL byte, so no two different tuples make the same message.
        """
        message = b"\0".join((_PURPOSE, cluster.encode(), key_id.encode(), form + lines))
        return hmac.digest(self._key, message, "sha256").hex()

    def fits(self, seal: str, cluster: str, key_id: str, form: bytes, lines: bytes) -> bool:
        return hmac.compare_digest(seal.encode(), self.make(cluster, key_id, form, lines).encode())


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
