"""One transaction of the outbox: what it writes, and what the file holds after it."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from edge.outbox.kept import Kept, Span, runs
from edge.records import rfc3339

_SIZES = ("page_count", "freelist_count", "page_size")


class Changes(msgspec.Struct, frozen=True):
    """What a commit does besides adding and removing records.

    Attributes:
        acknowledged: sequences that the broker has; the file keeps them for a while.
        aside: sequences that can never be sent, with the reason.
        marks: of images that are done.
        round: `OutboxFile.round` when these were collected.
        kept_since_s: what was acknowledged before that moment of the monotonic clock is removed.
        needs_room: half of what is kept is removed.
        tally: what the specimen's tally is with these records; None if it stays as it is.
    """

    acknowledged: Sequence[int] = ()
    aside: Sequence[tuple[int, str]] = ()
    marks: Sequence[bytes] = ()
    round: int = 0
    kept_since_s: float = 0.0
    needs_room: bool = False
    tally: bytes | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.acknowledged or self.aside or self.marks) or self.tally is not None


class Requests(msgspec.Struct):
    """What the next commit is asked to do besides writing records; see `Changes`."""

    removals: list[int] = msgspec.field(default_factory=list)
    acknowledged: list[int] = msgspec.field(default_factory=list)
    asides: list[tuple[int, str]] = msgspec.field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.removals or self.acknowledged or self.asides)

    def others(self) -> bool:
        """Whether there is anything to do besides the acknowledgements."""
        return bool(self.removals or self.asides)

    def changes(self, marks: list[bytes], number: int, kept_since_s: float, needs_room: bool) -> Changes:
        """As a commit takes them; `marks` are those of the images whose records are on the disk with it."""
        return Changes(
            tuple(self.acknowledged),
            tuple(self.asides),
            tuple(marks),
            number,
            kept_since_s,
            needs_room,
        )

    def join(self, later: "Requests", keep_acknowledged: bool) -> None:
        """The commit failed: merge these requests with those made since."""
        self.removals += later.removals
        self.acknowledged = (self.acknowledged if keep_acknowledged else []) + later.acknowledged
        self.asides += later.asides


class Contents(msgspec.Struct, frozen=True):
    """What the file holds.

    Attributes:
        records: rows of the table `records`, those that the broker has included.
        aside: rows of the table `aside`.
        used_bytes: what all of it takes on the disk.
        kept: what the broker has acknowledged.
    """

    records: int
    aside: int
    used_bytes: int
    kept: Kept


class Work(msgspec.Struct, frozen=True):
    """One commit.

    Attributes:
        rows: sequence and JSON of new records.
        removals: sequences of records that are forgotten.
        changes: see there.
        expired: spans that are no longer kept.
        last: the last sequence that was given.
        recount: an earlier commit was reported to fail and may be on the disk all the same.
        rewrite: the table `acknowledged` is written anew.
    """

    rows: list[tuple[int, bytes]]
    removals: list[int]
    changes: Changes
    expired: list[Span]
    last: int
    recount: bool
    rewrite: bool


def write(db: sqlite3.Connection, before: Contents, work: Work) -> Contents:
    """Do it in one durable transaction.

    Raises:
        sqlite3.Error: the disk refuses; in general nothing was changed, but a commit that is reported to fail
            may be on the disk. So whatever this writes may be written twice.
    """
    if db.in_transaction:  # an earlier ROLLBACK failed too
        db.execute("ROLLBACK")
    db.execute("BEGIN IMMEDIATE")
    try:
        after = _write(db, before, work)
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # tried again before the next commit
            if db.in_transaction:  # SQLite itself rolls back if the disk is full
                db.execute("ROLLBACK")
        raise
    return after


def _write(db: sqlite3.Connection, before: Contents, work: Work) -> Contents:
    records, aside = before.records, before.aside
    records += _many(db, "INSERT OR REPLACE INTO records VALUES (?, ?)", work.rows)
    records -= _many(db, "DELETE FROM records WHERE sequence = ?", [(n,) for n in work.removals])
    if work.changes.aside:
        records -= _set_aside(db, work.changes.aside)
    if work.changes.marks:
        _many(db, "INSERT OR IGNORE INTO done VALUES (?)", [(mark,) for mark in work.changes.marks])
    if work.changes.tally is not None:
        put_tally(db, work.changes.tally)
    if work.expired:
        ends = [(span.first, span.last) for span in work.expired]
        records -= _many(db, "DELETE FROM records WHERE sequence BETWEEN ? AND ?", ends)
        _many(db, "DELETE FROM acknowledged WHERE first = ?", [(first,) for first, _ in ends])
    kept = before.kept.without(
        work.expired, [*work.removals, *(sequence for sequence, _ in work.changes.aside)]
    )
    changed = _keep(db, kept, work.changes.acknowledged)
    if work.rewrite:
        db.execute("DELETE FROM acknowledged")
        changed = kept.spans
    if changed:
        ends = [(span.first, span.last) for span in changed]
        _many(db, "INSERT OR REPLACE INTO acknowledged VALUES (?, ?)", ends)
    if work.rows or work.recount:
        db.execute("UPDATE meta SET value = ? WHERE key = 'last_sequence'", (work.last,))
    if work.changes.aside or work.recount:
        aside = count(db, "aside")
    if work.recount:
        records = count(db, "records")
    return Contents(records, aside, used_bytes(db), kept)


def _set_aside(db: sqlite3.Connection, rows: Sequence[tuple[int, str]]) -> int:
    at = rfc3339(time.time_ns())
    copy = "INSERT OR REPLACE INTO aside SELECT sequence, payload, ?, ? FROM records WHERE sequence = ?"
    _many(db, copy, [(reason, at, sequence) for sequence, reason in rows])
    return _many(db, "DELETE FROM records WHERE sequence = ?", [(sequence,) for sequence, _ in rows])


def _keep(db: sqlite3.Connection, kept: Kept, acknowledged: Sequence[int]) -> list[Span]:
    """Add what was acknowledged to `kept`; gives the spans that are new or longer."""
    now_s = time.monotonic()
    changed = []
    for first, last in runs(sequence for sequence in acknowledged if not kept.holds(sequence)):
        if records := count_between(db, first, last):
            changed.append(kept.add(first, last, records, now_s))
    return changed


def keep_from_file(db: sqlite3.Connection) -> Kept:
    """What the table `acknowledged` holds, as if it was acknowledged now.

    How long ago it really was is not known: the machine may have been off, and its clock wrong.
    """
    kept, now_s = Kept(), time.monotonic()
    for first, last in db.execute("SELECT first, last FROM acknowledged ORDER BY first").fetchall():
        kept.add(first, last, count_between(db, first, last), now_s)
    return kept


def put_tally(db: sqlite3.Connection, tally: bytes) -> None:
    """Write the tally as a whole: written twice, it is the same."""
    db.execute("INSERT OR REPLACE INTO tally VALUES (1, ?)", (tally,))


def get_tally(db: sqlite3.Connection) -> bytes:
    """The tally, b"" if there is none."""
    row = db.execute("SELECT state FROM tally WHERE id = 1").fetchone()
    return bytes(row[0]) if row and isinstance(row[0], bytes) else b""


def contents(db: sqlite3.Connection) -> Contents:
    """What the file holds, counted."""
    return Contents(count(db, "records"), count(db, "aside"), used_bytes(db), keep_from_file(db))


def count(db: sqlite3.Connection, table: str) -> int:
    """Rows of a table of the outbox."""
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608  # a fixed name


def count_between(db: sqlite3.Connection, first: int, last: int) -> int:
    """How many of these records the file holds."""
    query = "SELECT count(*) FROM records WHERE sequence BETWEEN ? AND ?"
    return int(db.execute(query, (first, last)).fetchone()[0])


def used_bytes(db: sqlite3.Connection) -> int:
    """What the file's contents take on the disk."""
    pages, free, page_bytes = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
    return int((pages - free) * page_bytes)


def _many(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> int:
    """Do it for each row; gives how many rows of the table that changed."""
    return max(0, db.executemany(statement, rows).rowcount) if rows else 0
