"""The durable queue: records wait here, numbered without gaps, until the broker has them."""

import fcntl
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from edge.errors import LeukoscopeError
from edge.records import Record, encode

log = logging.getLogger(__name__)

# Records that wait in memory for the disk: some minutes of cells, a few megabytes.
WAITING_LIMIT = 2000
# The most that one commit takes, so that the first in it does not wait for hundreds of others.
BATCH_LIMIT = 500
# How long `accept` waits for room before it refuses.
ACCEPT_TIMEOUT_S = 5.0
# Between attempts while the disk refuses.
RETRY_S = 1.0
# For a reader outside, such as sqlite3 on the command line.
BUSY_TIMEOUT_S = 5.0


@dataclass(eq=False)
class _Item:
    """One thing for the writer: a record, or sequences to remove, or (both empty) a mark for `flush`."""

    record: Record | None = None
    remove: tuple[int, ...] = ()
    done: "Future[Record | None]" = field(default_factory=Future)


class Outbox:
    """A queue of records in an SQLite file.

    One writer thread commits all that waits in one transaction. Any thread may call any method, except
    that `wait_for_change` serves one waiting thread.

    Args:
        file: the database; made where missing, with its folder.

    Raises:
        LeukoscopeError: the file cannot be opened or written, is no outbox, or is in use.
    """

    def __init__(self, file: Path):
        self._file = file
        self._waiting: deque[_Item] = deque()  # an item leaves only when it is committed
        self._state = threading.Condition()
        self._changed = threading.Event()
        self._reading = threading.Lock()
        self._closing = self._closed = False
        self._fault = ""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(file)
            self._writer, self._reader = self._connect(), self._connect()
            self._rows, self._last = self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise LeukoscopeError(
                f"outbox {file}: {error}; set [outbox] file to a place that this user may write"
            ) from error
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def accept(self, record: Record) -> "Future[Record]":
        """Queue a record; returns without waiting for the disk.

        Returns:
            A future that holds the record with its sequence once it is on the disk. Where the disk refuses,
            it holds a LeukoscopeError, but the record stays queued in memory and is tried again: do not
            accept it twice.

        Raises:
            LeukoscopeError: the outbox is closed, or full because the disk refuses or is too slow.
        """
        encode(record)  # what cannot be written fails here, at its maker, and not in the writer's batch
        item = _Item(record=record)
        self._put(item)
        return item.done  # type: ignore[return-value]  # an item with a record gives a record

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` committed records above sequence `after`, in order, as (sequence, JSON)."""
        with self._reading:
            try:
                return self._reader.execute(
                    "SELECT sequence, payload FROM records WHERE sequence > ? ORDER BY sequence LIMIT ?",
                    (after, limit),
                ).fetchall()
            except sqlite3.Error as error:
                raise LeukoscopeError(f"outbox {self._file}: cannot be read: {error}") from error

    def remove(self, sequences: Iterable[int]) -> None:
        """Forget records that the broker has; done with the next commit."""
        self._put(_Item(remove=tuple(sequences)), bounded=False)

    def depth(self) -> int:
        """How many records the outbox holds, those not yet on the disk included."""
        with self._state:
            return self._rows + sum(item.record is not None for item in self._waiting)

    def oldest(self) -> int | None:
        """The lowest sequence on the disk, or None where there is none."""
        first = self.pending(after=0, limit=1)
        return first[0][0] if first else None

    def last_sequence(self) -> int:
        """The last sequence that was given; 0 where none was."""
        with self._state:
            return self._last

    def wait_for_change(self, timeout_s: float) -> bool:
        """Wait until something was committed or `wake` was called since the last wait."""
        changed = self._changed.wait(timeout_s)
        self._changed.clear()
        return changed

    def wake(self) -> None:
        """End `wait_for_change`, for what else its one caller waits for."""
        self._changed.set()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no record is left; False where some are after `timeout_s`."""
        with self._state:
            return self._state.wait_for(lambda: not self._rows and not self._waiting, timeout_s)

    def flush(self) -> None:
        """Wait until all that was accepted is on the disk.

        Raises:
            LeukoscopeError: the disk refuses.
        """
        mark = _Item()
        self._put(mark, bounded=False)
        mark.done.result()

    def close(self) -> None:
        """Commit all that was accepted and close the file.

        Raises:
            LeukoscopeError: the disk refuses even now; the message says how many records that costs.
        """
        with self._state:
            if self._closed:
                return
            self._closing = self._closed = True
            self._state.notify_all()
        self._thread.join()
        self._changed.set()
        with self._reading:
            self._reader.close()
        self._writer.close()
        self._lock.close()
        lost = sum(item.record is not None for item in self._waiting)
        if lost:
            raise LeukoscopeError(f"outbox {self._file}: {lost} records could not be written: {self._fault}")

    def _put(self, item: _Item, bounded: bool = True) -> None:
        item.done.set_running_or_notify_cancel()  # from here on it cannot be cancelled
        with self._state:
            if bounded:
                room = lambda: len(self._waiting) < WAITING_LIMIT or self._closing  # noqa: E731
                self._state.wait_for(room, ACCEPT_TIMEOUT_S)
            if self._closing:
                raise LeukoscopeError(f"outbox {self._file}: it is closed")
            if bounded and len(self._waiting) >= WAITING_LIMIT:
                why = self._fault or "the disk is too slow"
                raise LeukoscopeError(f"outbox {self._file}: {WAITING_LIMIT} records wait already: {why}")
            self._waiting.append(item)
            self._state.notify_all()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits when the power fails
        return connection

    def _prepare(self) -> tuple[int, int]:
        """Make the tables; gives how many records there are and the last sequence."""
        db = self._writer
        db.execute("BEGIN IMMEDIATE")  # fails here, not later, where the file is read-only
        db.execute("CREATE TABLE IF NOT EXISTS records (sequence INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
        db.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL)")
        db.execute("INSERT OR IGNORE INTO meta VALUES ('last_sequence', 0)")
        db.execute("COMMIT")
        rows, highest = db.execute("SELECT count(*), coalesce(max(sequence), 0) FROM records").fetchone()
        (last,) = db.execute("SELECT value FROM meta WHERE key = 'last_sequence'").fetchone()
        return rows, max(last, highest)

    def _run(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                batch = [self._waiting[i] for i in range(min(BATCH_LIMIT, len(self._waiting)))]
            try:
                numbered = self._commit(batch)
            except Exception as error:  # the thread's top: a failed commit must not end it
                if not self._refused(batch, error):
                    return
                continue
            self._committed(batch, numbered)

    def _commit(self, batch: list[_Item]) -> list[Record]:
        """Write a batch in one transaction; gives its records with their sequences."""
        last = self._last
        numbered = []
        for item in batch:
            if item.record is not None:
                last += 1
                numbered.append(msgspec.structs.replace(item.record, sequence=last))
        gone = [(sequence,) for item in batch for sequence in item.remove]
        db = self._writer
        removed = 0
        if numbered or gone:
            db.execute("BEGIN IMMEDIATE")
            try:
                rows = [(record.sequence, encode(record)) for record in numbered]
                db.executemany("INSERT INTO records VALUES (?, ?)", rows)
                if gone:
                    removed = db.executemany("DELETE FROM records WHERE sequence = ?", gone).rowcount
                db.execute("UPDATE meta SET value = ? WHERE key = 'last_sequence'", (last,))
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite itself rolls back where the disk is full
                    db.execute("ROLLBACK")
                raise
        with self._state:
            self._last = last
            self._rows += len(numbered) - max(removed, 0)
        return numbered

    def _committed(self, batch: list[_Item], numbered: list[Record]) -> None:
        if self._fault:
            log.info("outbox %s: writes again", self._file)
            self._fault = ""
        with self._state:
            for _ in batch:
                self._waiting.popleft()
            self._state.notify_all()
        records = iter(numbered)
        for item in batch:
            result = next(records) if item.record is not None else None
            if not item.done.done():
                item.done.set_result(result)
        self._changed.set()

    def _refused(self, batch: list[_Item], error: Exception) -> bool:
        """Say that a commit failed, and wait; False where the outbox is closing and gives up."""
        if not self._fault:
            log.error("outbox %s: %s; records wait in memory until it can be written", self._file, error)
        self._fault = str(error)
        for item in batch:
            if not item.done.done():
                item.done.set_exception(
                    LeukoscopeError(
                        f"outbox {self._file}: {error}; free space on the disk (the record waits in memory)"
                    )
                )
        with self._state:
            if self._closing:
                return False
            self._state.wait_for(lambda: self._closing, RETRY_S)
            return True


def _lock(file: Path) -> IO[str]:
    """Take the outbox for this process: two that count would give a sequence twice."""
    lock = open(f"{file}.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise LeukoscopeError(f"outbox {file}: another process uses it; stop that one first") from error
    return lock
