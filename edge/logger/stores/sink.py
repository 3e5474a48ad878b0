"""What the writer asks of a store of results."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from edge.errors import LeukoscopeError
from edge.records import FieldRecord, Record


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was not stored as a record: when (RFC 3339) and on which topic it came, its bytes, the reason."""

    received_at: str
    topic: str
    payload: bytes
    reason: str


class RefusedError(LeukoscopeError):
    """The store works, but it does not take these data: store the others, and put this one aside."""


class Sink(Protocol):
    """A store of results.

    Attributes:
        name: what it is, without secrets; the same at every start.
    """

    name: str

    def store(
        self, records: Sequence[Record], rejects: Sequence[Reject], fields: Sequence[FieldRecord] = ()
    ) -> list[bool]:
        """Store all or nothing, durably; True for each of `records` that was not there yet.

        Raises:
            RefusedError: nothing was stored, and the same call will fail again because of what is in it.
            LeukoscopeError: it failed and nothing was stored; the same call may be made again.
        """

    def close(self) -> None:
        """Give back what is open."""
