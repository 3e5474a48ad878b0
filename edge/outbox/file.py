"""The outbox's SQLite file: numbered records, durable commits, and what becomes of a damaged or full one."""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
from pathlib import Path

import msgspec

from edge.errors import LeukoscopeError
from edge.outbox.recovery import SCHEMA, check_and_recover, is_damage, valid
from edge.records import Record, encode

log = logging.getLogger(__name__)

# For a reader outside, such as sqlite3 on the command line.
BUSY_TIMEOUT_S = 5.0
# Kept on the disk and given up when it is full, so that what the broker has can still be removed.
RESERVE_BYTES = 512 * 1024
# Records kept in memory too, so that a publisher that follows closely need not read them back.
RECENT = 64
_SIZES = ("page_count", "freelist_count", "page_size")


class OutboxFile:
    """The file of an outbox; one thread commits, any thread reads.

    Attributes:
        rows: how many records it holds.
        last: the last sequence that was given.
        used_bytes: what they take on the disk.
        damaged: a broken page or record was met; `rebuild` is due.
        recovered: what happened to a damaged file, in one line; "" where there was none.

    Raises:
        LeukoscopeError: the file cannot be opened or written, is no outbox, or is in use.
    """

    def __init__(self, file: Path):
        self._file = file
        self._reading = threading.Lock()
        self.rows = self.last = self.used_bytes = 0
        self.damaged = False
        self.recovered = ""
        # Every record from that sequence on, for a reader that follows closely.
        self._recent: tuple[int, list[tuple[int, bytes]]] = (0, [])
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(file)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise LeukoscopeError(
                f"outbox {file}: {error}; set [outbox] file to a place that this user may write"
            ) from error
        except LeukoscopeError as error:
            raise type(error)(f"outbox {file}: {error}") from error
        self.keep_reserve()

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` committed records above sequence `after`, in order; none while `damaged`."""
        complete_from, recent = self._recent
        if after + 1 >= complete_from and not self.damaged:
            return [row for row in recent if row[0] > after][:limit]
        query = "SELECT sequence, payload FROM records WHERE sequence > ? ORDER BY sequence LIMIT ?"
        with self._reading:
            if self.damaged:
                return []
            try:
                rows: list[tuple[int, bytes]] = self._reader.execute(query, (after, limit)).fetchall()
                self.damaged = not all(valid(sequence, payload) for sequence, payload in rows)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise LeukoscopeError(f"outbox {self._file}: cannot be read: {error}") from error
                self.damaged = True
            return [] if self.damaged else rows

    def commit(self, records: list[Record], removals: list[int]) -> list[Record]:
        """Write and remove in one durable transaction; gives the records with their sequences.

        Raises:
            sqlite3.Error: the disk refuses, and nothing was changed; or the file is `damaged`.
        """
        if not records and not removals:
            return []
        numbered = [msgspec.structs.replace(r, sequence=self.last + n) for n, r in enumerate(records, 1)]
        last = self.last + len(numbered)
        try:
            rows = [(r.sequence, encode(r)) for r in numbered]
            removed = self._write(rows, removals, last)
        except sqlite3.Error as error:
            self.damaged = self.damaged or is_damage(error)
            raise
        _write_mark(self._lock, last)
        self.last = last
        self._keep_recent(rows, removals)
        self.rows += len(numbered) - removed
        self.used_bytes = self._count_bytes()
        return numbered

    def _keep_recent(self, rows: list[tuple[int, bytes]], removals: list[int]) -> None:
        complete_from, recent = self._recent
        gone = set(removals)
        kept = [row for row in (*recent, *rows) if row[0] not in gone]
        if len(kept) > RECENT:
            kept = kept[-RECENT:]
            complete_from = kept[0][0]
        self._recent = complete_from, kept  # at once: other threads read it without a lock

    def _write(self, rows: list[tuple[int, bytes]], removals: list[int], last: int) -> int:
        db, removed = self._writer, 0
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("INSERT INTO records VALUES (?, ?)", rows)
            if removals:
                gone = [(sequence,) for sequence in removals]
                removed = db.executemany("DELETE FROM records WHERE sequence = ?", gone).rowcount
            db.execute("UPDATE meta SET value = ? WHERE key = 'last_sequence'", (last,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite itself rolls back where the disk is full
                db.execute("ROLLBACK")
            raise
        return removed

    def rebuild(self) -> None:
        """Set the damaged file aside while readers wait, and go on with what can be read of it."""
        with self._reading:
            self._reader.close()
            self._writer.close()
            self._open(found="a page or a record of it is broken")
            self.damaged = False

    def close(self) -> None:
        """Close it; SQLite folds its log into the file."""
        with self._reading:
            self._reader.close()
            self._writer.close()
        os.close(self._lock)

    def keep_reserve(self) -> None:
        """Hold some space, where the disk has plenty."""
        try:
            free = os.statvfs(self._file.parent)
            if not self._reserve().exists() and free.f_bavail * free.f_frsize > 4 * RESERVE_BYTES:
                self._reserve().write_bytes(bytes(RESERVE_BYTES))
        except OSError as error:
            log.debug("no reserve beside the outbox: %s", error)

    def use_reserve(self) -> None:
        """Give up the held space, and let SQLite write its log from the start again instead of longer."""
        self._reserve().unlink(missing_ok=True)
        self._writer.execute("PRAGMA wal_checkpoint(RESTART)")

    def _reserve(self) -> Path:
        return Path(f"{self._file}.reserve")

    def _open(self, found: str = "") -> None:
        """Connect and count; before that, set a damaged file aside."""
        known_last = max(_read_mark(self._lock), self.last)
        try:
            report = check_and_recover(self._file, known_last, found)
        except sqlite3.OperationalError:  # the disk may be too full for SQLite's own files
            self._reserve().unlink(missing_ok=True)
            report = check_and_recover(self._file, known_last, found)
        if report:
            self.recovered = report
            log.error("outbox %s: %s", self._file, report)
        self._writer, self._reader = self._connect(), self._connect()
        db = self._writer
        db.executescript(SCHEMA)  # fails here, not later, where the file is read-only
        self.rows, highest = db.execute("SELECT count(*), coalesce(max(sequence), 0) FROM records").fetchone()
        (last,) = db.execute("SELECT value FROM meta WHERE key = 'last_sequence'").fetchone()
        self.last = max(last, highest, known_last)
        if self.last > last:
            db.execute("UPDATE meta SET value = ? WHERE key = 'last_sequence'", (self.last,))
        self._recent = self.last + 1, []
        self.used_bytes = self._count_bytes()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits when the power fails
        return connection

    def _count_bytes(self) -> int:
        pages, free, page_bytes = (self._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
        return int((pages - free) * page_bytes)


def _lock(file: Path) -> int:
    """Take the outbox for this process: two that count would give a sequence twice.

    The lock file also holds the last sequence that was given, so that damage to the database cannot make
    it be given twice.
    """
    lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise LeukoscopeError("another process uses it; stop that one first") from error
    return lock


def _read_mark(lock: int) -> int:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _write_mark(lock: int, last: int) -> None:
    # Not synced: after a power cut it is behind the database, which is synced, and so never misleads.
    with contextlib.suppress(OSError):  # a disk that is full at the first record
        os.pwrite(lock, b"%020d\n" % last, 0)
