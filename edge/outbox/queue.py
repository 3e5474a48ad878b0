"""The durable queue: records wait here, numbered without gaps, until the broker has them."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from edge.errors import LeukoscopeError
from edge.outbox.commit import Requests
from edge.outbox.file import OutboxFile
from edge.outbox.settings import RESEND_S
from edge.outbox.waiting import Item, OutboxFullError, TallyChange, Waiting, fail, settle, tally_after
from edge.records import FieldRecord, Record, decode_sent, encode_checked, seconds_since

log = logging.getLogger(__name__)

Sent = TypeVar("Sent", Record, FieldRecord)
"""What one outbox holds: the records of cells, or those of fields, each with sequences of their own."""

# How long `accept` waits for room before it refuses.
ACCEPT_TIMEOUT_S = 5.0
# How long the writer waits for another reason to commit before it commits acknowledgements alone. Until then a crash
# only means that these records are sent again, as all are after a restart.
ACKNOWLEDGED_WAIT_S = 0.1
# Between attempts while the disk refuses.
RETRY_S = 1.0
# A commit that takes longer than this hangs.
HANG_S = 20.0


class Outbox:
    """A queue of records in an SQLite file.

    One writer thread commits all that waits in one transaction. Any thread may call any method, except
    that `wait_for_change` serves one waiting thread. A damaged file is set aside and its readable part
    goes on; `recovered` then names what happened.

    Args:
        file: the database; made if missing, with its folder. A link is followed once, here.
        max_mb: megabytes (2^20) of records, above which none is taken; the log of SQLite adds about 4.
        resend_s: seconds for which a record is kept after its acknowledgement, for `resend`; 0 for not at all.

    Attributes:
        file: the database, its path resolved: what lies beside it (lock, reserve, health) is named after this.

    Raises:
        LeukoscopeError: the file cannot be opened or written, is no outbox, or is in use.
    """

    def __init__(self, file: Path, max_mb: int = 1024, resend_s: float = RESEND_S):
        try:
            self.file = file.resolve()
        except (OSError, RuntimeError) as error:  # a circle of links
            raise LeukoscopeError(f"outbox {file}: {error}; set [outbox] file to another place") from error
        self._max_mb, self._resend_s = max_mb, resend_s
        self._requests = Requests()
        self._told_aside = ""
        self._state = threading.Condition()
        self._changed = threading.Event()
        self._closing = self._closed = self._working = False
        self._send: Callable[[], bool] | None = None
        self._drains = 0  # how many wait until it is empty
        self._acknowledge_at_s = 0.0  # monotonic; of the acknowledgements that wait
        self._store = OutboxFile(self.file)
        self._waiting = Waiting(self.file, max_mb, self._store.used_bytes)
        self._turned_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def recovered(self) -> str:
        """What happened to a damaged file, in one line; "" if there was none."""
        return self._store.recovered

    @property
    def aside(self) -> int:
        """How many records are set aside, since they can never be sent."""
        return self._store.aside

    def accept(self, record: Sent, mark: bytes = b"", change: TallyChange | None = None) -> "Future[Sent]":
        """Queue a record; returns without waiting for the disk.

        Args:
            record: its sequence is given here.
            mark: kept in the same commit; see `marks`.
            change: what the record does to the tally, in the same commit.

        Returns:
            A future that holds the record with its sequence once it is on the disk. If the disk refuses,
            it holds a LeukoscopeError, but the record stays queued in memory and is tried again: do not
            accept it twice.

        Raises:
            InputError: it does not fit the schema, and a reader would refuse it.
            OutboxFullError: it is full, or too many wait because the disk refuses or is too slow.
            LeukoscopeError: the outbox is closed.
        """
        # What a reader would refuse fails here, where it is made, and not behind the broker.
        item = Item(record=record, size=len(encode_checked(record)), mark=mark, change=change)
        self._put(item)
        return item.done  # type: ignore[return-value]  # an item with a record gives a record

    def mark(self, mark: bytes) -> None:
        """Keep a mark that belongs to no record alone: not before what was accepted earlier is on the disk."""
        self._put(Item(mark=mark), bounded=False)

    def change_tally(self, change: TallyChange) -> "Future[Record | FieldRecord | None]":
        """Change the tally after the records that were accepted before; the future is done when it is on the disk."""
        item = Item(change=change)
        self._put(item, bounded=False)
        return item.done

    def tally(self) -> bytes:
        """The specimen's tally as it is on the disk; b"" if there is none."""
        return self._store.tally

    def marks(self) -> set[bytes]:
        """All marks that were ever kept in this file: images with these marks are done.

        Raises:
            LeukoscopeError: they cannot be read.
        """
        return self._store.marks()

    def fault(self) -> str:
        """Why no new frame should be taken: the outbox is full, or its disk refuses; "" if it takes them."""
        with self._state:
            return self._waiting.why_not()

    def hangs(self) -> str:
        """What is wrong with the thread that writes, or ""; a disk that refuses is not a fault of the thread."""
        if not self._thread.is_alive():
            return "its thread has ended"
        with self._state:
            # No time limit while a damaged file is set aside: a restart would begin again.
            busy = (self._working or self._has_work()) and not self._store.damaged
            busy_s = time.monotonic() - self._turned_at
        return f"its thread hangs for {busy_s:.0f} s" if busy and busy_s > HANG_S else ""

    def report(self) -> dict[str, object]:
        """For health: how much waits, for how long, what was set aside, and what is wrong."""
        return {
            "depth": self.depth(),
            "oldest_age_s": self.oldest_age_s(),
            "used_mb": round(self._store.used_bytes / 2**20, 2),
            "max_mb": self._max_mb,
            "fault": self.fault(),
            "recovered": self.recovered,
            "aside": self.aside,
            "aside_reason": self._store.aside_reason,
        }

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until records are taken again; False if they are not after `timeout_s`."""
        with self._state:
            return self._state.wait_for(lambda: not self._waiting.why_not(), timeout_s)

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` committed records above sequence `after`, in order, as (sequence, JSON).

        Empty while a damaged file is set aside.
        """
        rows = self._store.pending(after, limit)
        if self._store.damaged:
            with self._state:  # the writer repairs it
                self._state.notify_all()
        with self._state:
            unfit, self._store.unfit = self._store.unfit, []
            if acknowledged := self._requests.acknowledged:  # not committed yet
                rows = [row for row in rows if row[0] not in acknowledged]
        for sequence, reason in unfit:
            self.set_aside(sequence, reason)
        return rows

    def remove(self, sequences: Iterable[int]) -> None:
        """Forget records; done with the next commit."""
        self._ask(removals=sequences)

    def acknowledged(self, sequences: Iterable[int]) -> None:
        """The broker has these records: they wait no longer, but are kept for `resend_s`. Done with the next commit, in
        `ACKNOWLEDGED_WAIT_S` at the latest."""
        if self._resend_s:
            self._ask(acknowledged=sequences)
        else:
            self._ask(removals=sequences)

    def resend(self) -> int:
        """What the broker has acknowledged within the last `resend_s` waits again, in its order.

        To be called after each connection: a broker that crashed may have acknowledged what it never wrote to
        its disk. A record is stored once by its id, however often it is sent. After a restart of the box,
        all that was still kept is sent again, since nothing shows how long it was off.

        Returns:
            How many records that are.
        """
        with self._state:
            self._requests.acknowledged.clear()  # in a session that is over: they still wait
            count = self._store.resend(time.monotonic() - self._resend_s)
        if count:
            log.info("outbox %s: sends again %d records that the broker has acknowledged", self.file, count)
            self._changed.set()
        return count

    def set_aside(self, sequence: int, reason: str) -> None:
        """Set a record that can never be sent aside, with the reason, so that it does not block those behind it.

        Done with the next commit. It lies in the table `aside` of the file; health and `leukoscope doctor` count it.
        """
        self._ask(asides=((sequence, reason),))
        if reason != self._told_aside:
            self._told_aside = reason
            log.error("outbox %s: record %d is set aside and not sent: %s", self.file, sequence, reason)

    def _ask(
        self,
        removals: Iterable[int] = (),
        acknowledged: Iterable[int] = (),
        asides: Iterable[tuple[int, str]] = (),
    ) -> None:
        """Add requests for the writer that nobody waits for."""
        with self._state:
            if self._closing:
                raise LeukoscopeError(f"outbox {self.file}: it is closed")
            self._stamp()
            first = not self._requests
            if not self._requests.acknowledged:
                self._acknowledge_at_s = time.monotonic() + ACKNOWLEDGED_WAIT_S
            self._requests.removals.extend(removals)
            self._requests.acknowledged.extend(acknowledged)
            self._requests.asides.extend(asides)
            if first or self._due_s() <= 0:
                self._state.notify_all()

    def _stamp(self) -> None:
        """Note when the writer gets work after it was idle; called with the lock held."""
        if not (self._working or self._has_work()):
            self._turned_at = time.monotonic()

    def _has_work(self) -> bool:
        return bool(self._waiting or self._requests)

    def _due_s(self) -> float:
        """Seconds until the writer is to commit: 0 or less for now, infinite if it has nothing to do."""
        if self._waiting or self._requests.others() or self._store.damaged or self._closing:
            return 0.0
        if not self._requests.acknowledged:
            return math.inf
        urgent = self._drains or self._waiting.full
        return 0.0 if urgent else self._acknowledge_at_s - time.monotonic()

    def depth(self) -> int:
        """How many records the outbox holds, those not yet on the disk included."""
        with self._state:
            return self._store.rows + self._waiting.records

    def oldest(self) -> int | None:
        """The lowest sequence that waits on the disk, or None if there is none."""
        first = self.pending(after=0, limit=1)
        return first[0][0] if first else None

    def oldest_age_s(self) -> float | None:
        """Seconds since the oldest record that waits was captured, by the wall clock; None if there is none."""
        first = self.pending(after=0, limit=1)
        try:
            return seconds_since(decode_sent(first[0][1]).captured_at) if first else None
        except ValueError:  # a moment that is not written as `rfc3339` does
            return None

    def last_sequence(self) -> int:
        """The last sequence that was given; 0 if none was."""
        with self._state:
            return self._store.last

    def after_commit(self, send: Callable[[], bool]) -> None:
        """Call this function in the writer's thread after each commit.

        Args:
            send: takes what was committed; must not wait, and must not raise. If it returns False, who waits for a
                change is woken instead.
        """
        self._send = send

    def wait_for_change(self, timeout_s: float) -> bool:
        """Wait until something was committed that `after_commit` did not take, or `wake` was called, since the last
        wait."""
        changed = self._changed.wait(timeout_s)
        self._changed.clear()
        return changed

    def wake(self) -> None:
        """End `wait_for_change`: its caller also waits for other events."""
        self._changed.set()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no record waits for the broker; False if some do after `timeout_s`."""
        with self._state:
            self._drains += 1
            self._state.notify_all()  # the writer waits no more
            try:
                return self._state.wait_for(lambda: not self._store.rows and not self._waiting, timeout_s)
            finally:
                self._drains -= 1

    def flush(self) -> None:
        """Wait until all that was accepted is on the disk.

        Raises:
            LeukoscopeError: the disk refuses.
        """
        mark = Item()
        self._put(mark, bounded=False)
        mark.done.result()

    def close(self) -> None:
        """Commit all that was accepted and close the file.

        Raises:
            LeukoscopeError: the disk refuses even now; the message names how many records are lost.
        """
        with self._state:
            if self._closed:
                return
            self._closing = self._closed = True
            self._state.notify_all()
        self._thread.join()
        self._changed.set()
        self._store.close()
        lost = self._waiting.records
        if lost:
            raise LeukoscopeError(
                f"outbox {self.file}: {lost} records could not be written: {self._waiting.fault}"
            )

    def _put(self, item: Item, bounded: bool = True) -> None:
        item.done.set_running_or_notify_cancel()  # from here on it cannot be cancelled
        with self._state:
            if bounded:
                self._state.wait_for(
                    lambda: not self._waiting.crowded or self._waiting.full or self._closing, ACCEPT_TIMEOUT_S
                )
            if self._closing:
                raise LeukoscopeError(f"outbox {self.file}: it is closed")
            if bounded and (self._waiting.full or self._waiting.crowded):
                why = self._waiting.why_not() or "the disk is too slow"
                raise OutboxFullError(
                    f"outbox {self.file}: {why}; {len(self._waiting)} records wait in memory"
                )
            self._stamp()
            self._waiting.add(item)
            self._state.notify_all()

    def _run(self) -> None:
        while True:
            with self._state:
                self._working = False
                while (due_s := self._due_s()) > 0:
                    self._state.wait(None if math.isinf(due_s) else due_s)
                if not self._has_work() and not self._store.damaged:
                    return
                self._working, self._turned_at = True, time.monotonic()
                batch = self._waiting.batch()
                asked, self._requests = self._requests, Requests()
                changes = asked.changes(
                    [item.mark for item in batch if item.mark],
                    self._store.round,
                    time.monotonic() - self._resend_s,
                    self._waiting.needs_room,
                )
            try:
                if self._store.damaged:
                    self._store.rebuild()
                if self._waiting.fault:  # removals first: they make room
                    self._store.use_reserve()
                    self._store.commit(
                        [], asked.removals, replace(changes, marks=(), tally=None, needs_room=True)
                    )
                records = [item.record for item in batch if item.record is not None]
                changes = replace(changes, tally=tally_after(batch, self._store.tally, self._store.last))
                numbered = self._store.commit(records, asked.removals, changes)
            except Exception as error:  # the thread's top: a failed commit must not end it
                with self._state:
                    asked.join(self._requests, keep_acknowledged=changes.round == self._store.round)
                    self._requests = asked
                if not self._refused(batch, error):
                    return
                continue
            self._committed(batch, numbered)

    def _committed(self, batch: list[Item], numbered: list[Record | FieldRecord]) -> None:
        if self._waiting.fault:
            log.info("outbox %s: writes again", self.file)
            self._store.keep_reserve()
        with self._state:
            self._waiting.committed(batch, self._store.used_bytes)
            self._state.notify_all()
        settle(batch, numbered)
        if self._send is None or not self._send():
            self._changed.set()

    def _refused(self, batch: list[Item], error: Exception) -> bool:
        """Report that a commit failed, and wait; False if the outbox is closing and gives up."""
        if not self._waiting.fault:
            log.error("outbox %s: %s; records wait in memory until it can be written", self.file, error)
        with self._state:
            self._waiting.fault = str(error)
        fail(
            batch,
            LeukoscopeError(
                f"outbox {self.file}: {error}; free space on the disk (the record waits in memory)"
            ),
        )
        with self._state:
            if self._closing:
                return False
            self._state.wait_for(lambda: self._closing, RETRY_S)
            return True
