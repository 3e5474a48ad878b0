"""The outbox's SQLite file: numbered records, durable commits, and the handling of a damaged or full file."""

import logging
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from edge.errors import InputError, LeukoscopeError
from edge.outbox.commit import (
    Changes,
    Contents,
    Work,
    contents,
    count,
    get_tally,
    keep_from_file,
    put_tally,
    used_bytes,
    write,
)
from edge.outbox.kept import Kept
from edge.outbox.lock import Lock
from edge.outbox.recovery import SCHEMA, DamageError, check_and_recover, is_damage, why_unfit
from edge.records import FieldRecord, Record, encode

log = logging.getLogger(__name__)

# For a reader outside, such as sqlite3 on the command line.
BUSY_TIMEOUT_S = 5.0
# Reserved on the disk and released when it is full, so that records that the broker has can still be removed.
RESERVE_BYTES = 512 * 1024
# Records also kept in memory, so that a publisher that keeps up need not read them back.
RECENT = 64
# An I/O error may come from a bad sector; to find out, the whole file is read, and not more often than this.
PROBE_INTERVAL_S = 60.0
_NOTHING = Changes()


class OutboxFile:
    """The file of an outbox; one thread commits, any thread reads.

    Attributes:
        last: the last sequence that was given.
        aside_reason: why the latest record was set aside, "" if none is.
        damaged: a broken page or record was met; `rebuild` is due.
        recovered: what happened to a damaged file, in one line; "" if there was none.
        unfit: rows that were met and are no records, with the reason; they are to be set aside.
        round: how often `resend` was called.
        tally: of the specimen, as it was last committed; b"" if there is none.

    Args:
        file: its path, resolved.

    Raises:
        LeukoscopeError: the file cannot be opened or written, is no outbox, or is in use.
    """

    def __init__(self, file: Path):
        self._file = file
        self._reading = threading.Lock()
        self._memory = threading.Lock()  # of `round`, `_contents` and `_recent`, which `resend` changes too
        self.last = self.round = 0
        self.damaged = self._in_doubt = self._rewrite_kept = False
        self.recovered = self.aside_reason = ""
        self.tally = b""
        self.unfit: list[tuple[int, str]] = []
        self._contents = Contents(0, 0, 0, Kept())
        self._probe_due_s = 0.0
        # Every record from that sequence on, for a reader that keeps up.
        self._recent: tuple[int, list[tuple[int, bytes]]] = (0, [])
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(file)
        except (OSError, LeukoscopeError) as error:
            raise _of_file(file, error) from error
        try:
            self._open()
        except (OSError, sqlite3.Error, LeukoscopeError) as error:
            self._lock.close()
            raise _of_file(file, error) from error
        self.keep_reserve()

    @property
    def rows(self) -> int:
        """How many records wait for the broker."""
        held = self._contents
        return held.records - held.kept.records

    @property
    def used_bytes(self) -> int:
        """What the records take on the disk, those that are kept or set aside included."""
        return self._contents.used_bytes

    @property
    def aside(self) -> int:
        """How many records are set aside."""
        return self._contents.aside

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` committed records above sequence `after`, in order; none while `damaged`."""
        complete_from, recent = self._recent
        if after + 1 >= complete_from and not self.damaged:
            return [row for row in recent if row[0] > after][:limit]
        with self._memory:
            spans = list(self._contents.kept.gaps(after))
        with self._reading:
            if self.damaged:
                return []
            try:
                return self._read(spans, limit)
            except DamageError as error:
                log.debug("outbox %s: %s", self._file, error)
                self.damaged = True
            except sqlite3.Error as error:
                if not self._is_damage(error):
                    raise LeukoscopeError(f"outbox {self._file}: cannot be read: {error}") from error
                self.damaged = True
            return []

    def _read(self, spans: list[tuple[int, int]], limit: int) -> list[tuple[int, bytes]]:
        query = "SELECT sequence, payload FROM records WHERE sequence BETWEEN ? AND ? ORDER BY sequence"
        rows: list[tuple[int, bytes]] = []
        for span in spans:
            with closing(self._reader.execute(query, span)) as found:
                for sequence, payload in found:
                    if len(rows) == limit:
                        return rows
                    if reason := why_unfit(sequence, payload):
                        self.unfit.append((sequence, reason))
                    else:
                        rows.append((sequence, payload))
        return rows

    def marks(self) -> set[bytes]:
        """All marks."""
        try:
            with self._reading:
                return {mark for (mark,) in self._reader.execute("SELECT mark FROM done")}
        except sqlite3.Error as error:
            raise LeukoscopeError(f"outbox {self._file}: cannot be read: {error}") from error

    def resend(self, kept_since_s: float) -> int:
        """What was acknowledged since that moment waits for the broker again; gives how many records that are."""
        with self._memory:
            kept = self._contents.kept
            left = Kept(kept.older_than(kept_since_s))
            self._contents = replace(self._contents, kept=left)
            self._recent = self.last + 1, []  # it holds none of them
            self.round += 1
            self._rewrite_kept = True
        return kept.records - left.records

    def commit(
        self, records: list[Record | FieldRecord], removals: list[int], changes: Changes = _NOTHING
    ) -> list[Record | FieldRecord]:
        """Write and remove in one durable transaction; gives the records with their sequences.

        Raises:
            sqlite3.Error: the disk refuses; the same records are to be given again. Or the file is `damaged`.
        """
        with self._memory:
            before, rewrite = self._contents, self._rewrite_kept or self._in_doubt
            if changes.round != self.round:  # acknowledged in a session that is over
                changes = replace(changes, acknowledged=())
        expired = (
            before.kept.oldest_half() if changes.needs_room else before.kept.older_than(changes.kept_since_s)
        )
        if not (records or removals or expired or changes):
            return []
        numbered = [msgspec.structs.replace(r, sequence=self.last + n) for n, r in enumerate(records, 1)]
        rows = [(r.sequence, encode(r)) for r in numbered]
        last = self.last + len(numbered)
        work = Work(rows, removals, changes, expired, last, self._in_doubt, rewrite)
        try:
            after = write(self._writer, before, work)
        except sqlite3.Error as error:
            self.damaged = self.damaged or self._is_damage(error)
            self._in_doubt = True
            raise
        # From here on nothing may fail: the records are on the disk and must not get another number.
        self._in_doubt = False
        self._lock.write_last(last)
        self.last = last
        if changes.aside:
            self.aside_reason = changes.aside[-1][1]
        if changes.tally is not None:
            self.tally = changes.tally
        self._remember(work, after)
        return numbered

    def _remember(self, work: Work, after: Contents) -> None:
        """Update the state by what was written, unless `resend` has changed it meanwhile."""
        gone = {*work.removals, *(sequence for sequence, _ in work.changes.aside)}
        with self._memory:
            if work.changes.round == self.round:
                gone.update(work.changes.acknowledged)
                self._rewrite_kept = self._rewrite_kept and not work.rewrite
                self._contents = after
            else:
                kept = self._contents.kept.without(work.expired, gone)
                self._contents = replace(after, kept=kept)
            complete_from, recent = self._recent
            left = [row for row in (*recent, *work.rows) if row[0] not in gone]
            if len(left) > RECENT:
                left = left[-RECENT:]
                complete_from = left[0][0]
            self._recent = complete_from, left  # at once: other threads read it without a lock

    def rebuild(self) -> None:
        """Set the damaged file aside while readers wait, and continue with what can be read of it."""
        with self._reading:
            last = self.last
            self._close_connections()
            tally = self.tally
            self._open(found="a page or a record of it is broken")
            if tally:  # as it was committed; the file may have lost it
                put_tally(self._writer, tally)
                self.tally = tally
            if self.last > last:  # of a commit that was reported to fail; its records are given again
                self._writer.execute("DELETE FROM records WHERE sequence > ?", (last,))
                self._writer.execute("UPDATE meta SET value = ? WHERE key = 'last_sequence'", (last,))
                self.last = last
                self._in_doubt = True
            self.damaged = False

    def close(self) -> None:
        """Close it; SQLite folds its log into the file."""
        with self._reading:
            self._close_connections()
        self._lock.close()

    def _close_connections(self) -> None:
        self._reader.close()
        self._writer.close()

    def keep_reserve(self) -> None:
        """Reserve some space, if the disk has plenty."""
        try:
            free = os.statvfs(self._file.parent)
            if not self._reserve().exists() and free.f_bavail * free.f_frsize > 4 * RESERVE_BYTES:
                self._reserve().write_bytes(bytes(RESERVE_BYTES))
        except OSError as error:
            log.debug("no reserve beside the outbox: %s", error)

    def use_reserve(self) -> None:
        """Release the reserved space, and let SQLite restart its log instead of extending it."""
        self._reserve().unlink(missing_ok=True)
        self._writer.execute("PRAGMA wal_checkpoint(RESTART)")

    def _reserve(self) -> Path:
        return Path(f"{self._file}.reserve")

    def _open(self, found: str = "") -> None:
        """Connect and count; before that, set a damaged file aside."""
        known_last = max(self._lock.read_last(), self.last)
        self._lock.hold_database()
        check = (self._file, known_last, self._lock.database, found)
        try:
            report = check_and_recover(*check)
        except sqlite3.OperationalError:  # the disk may be too full for SQLite's own files
            self._reserve().unlink(missing_ok=True)
            report = check_and_recover(*check)
        if report:
            self.recovered = report
            log.error("outbox %s: %s", self._file, report)
            self._lock.hold_database()  # it may be another file now
        self._writer = self._connect()
        try:
            self._reader = self._connect()
            self._count(known_last)
        except BaseException:
            self._writer.close()
            raise

    def _count(self, known_last: int) -> None:
        db = self._writer
        db.executescript(SCHEMA)  # fails here, not later, if the file is read-only
        (highest,) = db.execute("SELECT coalesce(max(sequence), 0) FROM records").fetchone()
        (last,) = db.execute("SELECT value FROM meta WHERE key = 'last_sequence'").fetchone()
        self.last = max(last, highest, known_last)
        if self.last > last:
            db.execute("UPDATE meta SET value = ? WHERE key = 'last_sequence'", (self.last,))
        self.tally = get_tally(db)
        reasons = db.execute("SELECT reason FROM aside ORDER BY at DESC, sequence DESC LIMIT 1").fetchall()
        self.aside_reason = reasons[0][0] if reasons else ""
        with self._memory:
            self._contents = contents(db)
            self._rewrite_kept = bool(self._contents.kept.spans)  # those that follow each other are one now
            self._recent = self.last + 1, []

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits in a power cut
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_damage(self, error: sqlite3.Error) -> bool:
        descriptor = -1
        if time.monotonic() >= self._probe_due_s:
            descriptor = self._lock.database
        if "disk I/O error" in str(error):
            self._probe_due_s = time.monotonic() + PROBE_INTERVAL_S
        return is_damage(error, descriptor)


class Held(msgspec.Struct, frozen=True):
    """What an outbox holds, seen from outside.

    Attributes:
        waiting: how many records wait for the broker.
        used_bytes: what all records take on the disk.
        aside: what can never be sent: sequence and reason.
    """

    waiting: int
    used_bytes: int
    aside: list[tuple[int, str]]


def held_in(file: Path) -> Held:
    """What an outbox holds, read from outside while it may be in use.

    Raises:
        LeukoscopeError: it cannot be read.
    """
    path = file.resolve()
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            return _held(db)
    except sqlite3.Error as error:
        raise LeukoscopeError(f"outbox {file}: cannot be read: {error}") from error


def _held(db: sqlite3.Connection) -> Held:
    """What a file holds that an older version may have made: what it has no table for, it does not hold."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "records" not in tables:  # an empty file
        return Held(0, 0, [])
    kept = keep_from_file(db) if "acknowledged" in tables else Kept()
    query = "SELECT sequence, reason FROM aside ORDER BY sequence"
    aside = db.execute(query).fetchall() if "aside" in tables else []
    return Held(count(db, "records") - kept.records, used_bytes(db), aside)


def _of_file(file: Path, error: Exception) -> LeukoscopeError:
    """The same error, as one of this outbox; an InputError stays an InputError."""
    remedy = (
        ""
        if isinstance(error, LeukoscopeError)
        else "; set [outbox] file to a place that this user may write"
    )
    kind = InputError if isinstance(error, InputError) else LeukoscopeError
    return kind(f"outbox {file}: {error}{remedy}")
