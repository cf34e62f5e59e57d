"""An inviter's answer to a request to join: a record of its own at `clusters/<inviter>/answers/<joiner>`."""

from __future__ import annotations

import enum
import hashlib

import msgspec

from federation.errors import FederationError

_MAX_DETAIL = 512


class AnswerCode(enum.StrEnum):
    """What became of a request: bounded, shown by name at both ends."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    """It waits for the inviter's operator."""
    UNKNOWN_INVITATION = "unknown-invitation"
    WRONG_SECRET = "wrong-secret"  # noqa: S105 - a reason, not a secret
    EXPIRED = "expired"
    USED_UP = "used-up"
    OTHER_CLUSTER = "other-cluster"
    """The invitation names another cluster."""
    NAME_TAKEN = "name-taken"
    TRUST_DOMAIN_TAKEN = "trust-domain-taken"
    REMOVED = "removed"
    """It was accepted with this invitation, and is no peer any more."""
    FOREIGN = "foreign"
    BAD_RECORD = "bad-record"

    @property
    def is_refusal(self) -> bool:
        return self not in (AnswerCode.ACCEPTED, AnswerCode.PENDING)


class RequestRefused(FederationError):
    """A request to join that is not granted. `detail` is for a person and holds no secret."""

    def __init__(self, code: AnswerCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code: AnswerCode = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class AnswerValue(msgspec.Struct, frozen=True):
    """The answer to the request with this digest (`digest_of`)."""

    request: str
    code: AnswerCode
    detail: str = ""


def digest_of(raw: bytes) -> str:
    """What an answer calls the request that it answers."""
    return hashlib.sha256(raw).hexdigest()


def encode_answer(answer: AnswerValue) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(answer, detail=answer.detail[:_MAX_DETAIL]))


def parse_answer(value: bytes) -> AnswerValue | None:
    """An answer; None for what is none (another version's, perhaps)."""
    try:
        answer = msgspec.json.decode(value, type=AnswerValue)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    detail = "".join(char if char.isprintable() else " " for char in answer.detail[:_MAX_DETAIL])
    return msgspec.structs.replace(answer, detail=detail)
