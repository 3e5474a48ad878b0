"""What waits in memory for the disk, and whether there is room for more."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec

from edge.errors import LeukoscopeError
from edge.records import FieldRecord, Record

log = logging.getLogger(__name__)

# Records that wait in memory for the disk: some minutes of cells, a few megabytes.
WAITING_LIMIT = 2000
# Records per commit at most, so that the first does not wait for hundreds of others.
BATCH_LIMIT = 500
# A full outbox takes records again when it is down to this share, so that it does not switch all the time.
ROOM_SHARE = 0.95
# What the broker has acknowledged is kept for `resend_s`, but removed earlier if the file is fuller than this.
KEPT_SHARE = 0.5


TallyChange = Callable[[bytes, int], bytes]
"""Takes the specimen's tally (b"" if there is none) and the sequence of the record that changes it, or the last one
given; gives the tally after that. It may be called again if a commit fails, and must not raise."""


class OutboxFullError(LeukoscopeError):
    """The outbox takes no record now; offer it again when `wait_for_room` gives True."""


class Item(msgspec.Struct, eq=False):
    """One thing for the writer: a record of `size` bytes; or without one a mark, a change of the tally, or a point that
    `flush` waits for."""

    record: Record | FieldRecord | None = None
    size: int = 0
    mark: bytes = b""
    change: TallyChange | None = None
    done: "Future[Record | FieldRecord | None]" = msgspec.field(default_factory=Future)


class Waiting:
    """The items that wait for the disk, in order, and how full the outbox is.

    Every method is called with the lock of the outbox held.

    Args:
        file: of the outbox, for messages.
        max_mb: megabytes (2^20) of records, on the disk and in memory, above which none is taken.
        used_bytes: what the records on the disk take.

    Attributes:
        fault: why the disk refuses, or "".
        full: whether the bound is reached.
    """

    def __init__(self, file: Path, max_mb: int, used_bytes: int):
        self._file, self._max_mb, self._used_bytes = file, max_mb, used_bytes
        self._items: deque[Item] = deque()  # an item leaves only when it is committed
        self._bytes = 0
        self.fault = ""
        self.full = False
        self._measure()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def records(self) -> int:
        """How many of the items are records."""
        return sum(item.record is not None for item in self._items)

    @property
    def crowded(self) -> bool:
        """Whether too many items wait to take another record."""
        return len(self._items) >= WAITING_LIMIT

    @property
    def needs_room(self) -> bool:
        """Whether the outbox is so full that what is only kept to be sent again is removed early."""
        return self._share() > KEPT_SHARE

    def why_not(self) -> str:
        """Why no new frame should be taken, or ""."""
        if self.fault:
            return f"cannot be written: {self.fault}; free space on its disk, or replace it"
        if self.full:
            return f"full: {self._max_mb} MB of records wait for the broker ([outbox] max_mb)"
        return ""

    def add(self, item: Item) -> None:
        """The item waits from now on."""
        self._items.append(item)
        self._bytes += item.size
        self._measure()

    def batch(self) -> list[Item]:
        """The items of the next commit; they still wait."""
        return [self._items[i] for i in range(min(BATCH_LIMIT, len(self._items)))]

    def committed(self, batch: Sequence[Item], used_bytes: int) -> None:
        """The batch is on the disk, whose records now take `used_bytes`."""
        self.fault = ""
        self._used_bytes = used_bytes
        for item in batch:
            self._items.popleft()
            self._bytes -= item.size
        self._measure()

    def _share(self) -> float:
        return (self._used_bytes + self._bytes) / (self._max_mb * 2**20)

    def _measure(self) -> None:
        """Whether the bound is reached."""
        share = self._share()
        if self.full and share < ROOM_SHARE:
            self.full = False
            log.info("outbox %s: has room again", self._file)
        elif not self.full and share >= 1:
            self.full = True
            log.error("outbox %s: %s; no new frames until it is down", self._file, self.why_not())


def tally_after(batch: Sequence[Item], tally: bytes, last: int) -> bytes | None:
    """The tally after a batch.

    Args:
        batch: what is committed.
        tally: as it was before.
        last: the last sequence that was given before.

    Returns:
        The new tally, or None if nothing of the batch changes it.
    """
    before, sequence = tally, last
    for item in batch:
        sequence += item.record is not None
        if item.change is not None:
            tally = item.change(tally, sequence)
    return tally if tally != before else None


def settle(batch: Sequence[Item], numbered: Sequence[Record | FieldRecord]) -> None:
    """Give each item's future its result: its record with the sequence, None if it has no record."""
    records = iter(numbered)
    for item in batch:
        result = next(records) if item.record is not None else None
        if not item.done.done():
            item.done.set_result(result)


def fail(batch: Sequence[Item], error: LeukoscopeError) -> None:
    """Give each item's future an error; one that has failed before stays as it is."""
    for item in batch:
        if not item.done.done():
            item.done.set_exception(error)
