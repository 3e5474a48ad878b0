"""Recovery of a damaged outbox file: it is set aside, and what can be read of it is copied into a new file."""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from edge.errors import InputError, LeukoscopeError
from edge.host.durable import flush_folder, replace_file
from edge.outbox import salvage
from edge.outbox.kept import runs
from edge.outbox.lock import LAST_POSSIBLE
from edge.records import decode_sent, rfc3339

# records: what waits for the broker, and what it has acknowledged (the spans of `acknowledged`) and is kept for a
# while. aside: what can never be sent, with the reason. done: marks of the images of a folder. tally: of the
# specimen, one row.
SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS records (sequence INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS acknowledged (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS aside
    (sequence INTEGER PRIMARY KEY, payload BLOB NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS done (mark BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally (id INTEGER PRIMARY KEY, state BLOB NOT NULL);
INSERT OR IGNORE INTO meta VALUES ('last_sequence', 0);
COMMIT;
"""
_OURS = frozenset({"records", "meta"})
# By this header a file with no other readable content is known to be a database.
_MAGIC = b"SQLite format 3\x00"
# How many sequences after the last record found are tried one by one.
TRIED_BEYOND = 1_000_000
SEARCHED = "found while the damaged file was searched"


class DamageError(LeukoscopeError):
    """A row is not a complete record: its page is damaged."""


def is_damage(error: Exception, descriptor: int = -1) -> bool:
    """Whether SQLite reports that the file itself is broken, not that it is full, busy or not writable.

    Args:
        error: what SQLite raised.
        descriptor: the open database file, to find out whether an I/O error comes from a bad sector; -1 if
            that is not to be looked for.
    """
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    if any(words in str(error) for words in ("malformed", "not a database", "no such table")):
        return True
    # Python 3.10 does not name the operation that failed.
    kind = getattr(error, "sqlite_errorname", "SQLITE_IOERR_READ")
    return (
        "disk I/O error" in str(error)
        and kind in ("SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS")
        and descriptor >= 0
        and salvage.unreadable_bytes(descriptor) > 0
    )


def why_unfit(sequence: int, payload: object) -> str:
    """Why a row can never be sent: it is a whole JSON object with its own sequence, but no record; "" if it is one.

    Raises:
        DamageError: it is not such an object.
    """
    reason = "it is no JSON"
    if isinstance(payload, bytes):
        try:
            if decode_sent(payload).sequence == sequence:
                return ""
        except InputError as error:
            reason = str(error)
        try:
            if salvage.sequence_of(json.loads(payload)) == sequence:
                return reason
        except (ValueError, RecursionError):
            pass
    raise DamageError(f"row {sequence}: {reason}")


def check_and_recover(file: Path, known_last: int, descriptor: int, found: str = "") -> str:
    """Check an outbox file; if it is damaged, set it aside and begin a new one with its records.

    Args:
        file: the database, used by nobody; it exists, maybe empty.
        known_last: a sequence that was given for certain, from outside the file.
        descriptor: the open file.
        found: damage that was met already, and that a check might not see.

    Returns:
        What happened, in one line; "" if the file is whole or new.

    Raises:
        LeukoscopeError: the file was never an outbox, or nothing can be written beside it.
    """
    fresh, log_file = _fresh(file), Path(f"{file}-wal")
    if file.stat().st_size == 0 and fresh.exists():  # a recovery that was cut off before its last step
        _remove_log(file)  # the damaged file's own, which is kept beside it
        fresh.rename(file)
        flush_folder(file.parent)
    # SQLite drops what follows a torn page of its log, and the whole log of an empty file.
    log = b"".join(salvage.pieces(log_file)) if log_file.exists() else b""
    if file.stat().st_size == 0:
        database = salvage.database_of(log)
        if not database:
            return f"{file} is gone; sequences go on from {known_last}" if known_last else ""
        replace_file(file, database, mode=None)
        return _recover(file, "it was empty, but its log was whole", known_last, log)
    damage, last = _check(file, known_last, descriptor)
    damage = damage or found
    return _recover(file, damage, max(last, known_last), log) if damage else ""


def _fresh(file: Path) -> Path:
    return Path(f"{file}.recovered")


def _check(file: Path, known_last: int, descriptor: int) -> tuple[str, int]:
    """What is wrong with the file, "" for nothing; and the last sequence that it knows."""
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as db:
            last = _last_sequence(db)
            (finding,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error, descriptor):
            raise
        return str(error), 0
    if finding != "ok":
        return " ".join(str(finding).split()), last
    if last > LAST_POSSIBLE:
        return f"{last} cannot be its last sequence", 0
    return (f"its last {known_last - last} records are missing" if last < known_last else ""), last


def _last_sequence(db: sqlite3.Connection) -> int:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and not tables & _OURS:
        raise InputError(
            f"it is another database, with tables {', '.join(sorted(tables))}; name another file"
        )
    if not tables:  # a power cut before the first commit
        return 0
    row = db.execute("SELECT value FROM meta WHERE key = 'last_sequence'").fetchone()
    return row[0] if row and isinstance(row[0], int) else 0


@dataclass
class _Found:
    """The results of a search: sequences of records in the new file; rows that are complete but no record."""

    records: set[int] = field(default_factory=set)
    unfit: dict[int, tuple[bytes, str]] = field(default_factory=dict)

    def take(self, new: sqlite3.Connection, sequence: int, payload: object) -> None:
        """Put a record into the new file, unless it is there already."""
        if sequence in self.records or not 0 < sequence <= LAST_POSSIBLE:
            return
        try:
            reason = why_unfit(sequence, payload)
        except DamageError:
            return
        assert isinstance(payload, bytes)
        if reason:
            self.unfit[sequence] = payload, reason
        else:
            new.execute("INSERT INTO records VALUES (?, ?)", (sequence, payload))
            self.records.add(sequence)

    def put_unfit_aside(self, new: sqlite3.Connection) -> None:
        """Set aside a row that is complete but can never be sent."""
        at = rfc3339(time.time_ns())
        for sequence, (payload, reason) in self.unfit.items():
            if sequence not in self.records:
                row = (sequence, payload, f"{reason} ({SEARCHED})", at)
                new.execute("INSERT OR IGNORE INTO aside VALUES (?, ?, ?, ?)", row)


def _copy_readable(old: sqlite3.Connection, new: sqlite3.Connection, found: _Found, last: int) -> None:
    """Copy what SQL can read: from both ends up to a broken page, then each record between."""

    def copy(query: str, *values: int) -> bool:
        try:
            for sequence, payload in old.execute(query, values):
                if sequence in found.records:
                    break
                found.take(new, sequence, payload)
        except sqlite3.DatabaseError:
            return False
        return True

    whole = copy("SELECT * FROM records ORDER BY sequence")
    if not whole and not copy("SELECT * FROM records ORDER BY sequence DESC") and found.records:
        lowest, highest = min(found.records), max(found.records)
        for sequence in range(lowest, max(highest, min(last, highest + TRIED_BEYOND)) + 1):
            if sequence not in found.records:
                copy("SELECT * FROM records WHERE sequence = ?", sequence)


def _copy_others(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """What was set aside, the marks of images and the tally: as far as they can be read."""
    for read, put in (
        ("SELECT * FROM aside", "INSERT OR IGNORE INTO aside VALUES (?, ?, ?, ?)"),
        ("SELECT * FROM done", "INSERT OR IGNORE INTO done VALUES (?)"),
        ("SELECT * FROM tally", "INSERT OR IGNORE INTO tally VALUES (?, ?)"),
    ):
        try:
            for row in old.execute(read):
                new.execute(put, row)
        except sqlite3.DatabaseError:  # an older outbox has none, or the rest of it is broken
            continue


def _copy(file: Path, new: sqlite3.Connection, found: _Found, last: int) -> None:
    """Copy what SQL can read; nothing if the first page is bad, without which SQLite does not open a file."""
    try:
        old = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)
    except sqlite3.DatabaseError:
        return
    with closing(old), suppress(sqlite3.DatabaseError):
        _copy_readable(old, new, found, last)
        _copy_others(old, new)


def _recover(file: Path, damage: str, last: int, log: bytes) -> str:
    fresh, found = _fresh(file), _Found()
    fresh.unlink(missing_ok=True)
    beginning = next(salvage.pieces(file), b"")[: len(_MAGIC)]
    with closing(sqlite3.connect(fresh, isolation_level=None)) as new:
        new.execute("PRAGMA synchronous=FULL")
        new.executescript(SCHEMA)
        new.execute("BEGIN")
        _copy(file, new, found, last)
        # A record that was removed may be found again: it is sent again, and stored once by its id.
        for source in (salvage.pieces(file), [log]):
            for sequence, payload in salvage.carve(source):
                found.take(new, sequence, payload)
        found.put_unfit_aside(new)
        last = max(last, *found.records, *found.unfit, 0)
        new.execute("UPDATE meta SET value = ?", (last,))
        new.execute("COMMIT")
    # A first block that cannot be read (zeros here) does not show whose file it is.
    if not (found.records or found.unfit or last or beginning in (_MAGIC, bytes(len(_MAGIC)))):
        fresh.unlink()
        raise LeukoscopeError(f"it is no outbox ({damage}); name another file")
    folder = _set_aside(file, log)
    return (
        f"damaged ({damage}), set aside as {folder}; {len(found.records)} records recovered"
        f"{_told(found, last)}; goes on after {last}"
    )


def _told(found: _Found, last: int) -> str:
    unfit = found.unfit.keys() - found.records
    known = sorted(found.records | unfit)
    if known and known[-1] < last:
        known.append(last + 1)
    missing = [(one + 1, next_one - 1) for one, next_one in pairwise(known) if next_one > one + 1]
    return (f"; put aside, since they are no records: {ranges(runs(unfit))}" if unfit else "") + (
        f"; not found: {ranges(missing)}" if missing else ""
    )


def _set_aside(file: Path, log: bytes) -> Path:
    """Put the new file in the old one's place; gives the folder that holds the old one."""
    folder = Path(f"{file}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}")
    folder.mkdir()
    if log:
        replace_file(folder / f"{file.name}-wal", log, mode=None)
    file.rename(folder / file.name)
    flush_folder(folder)
    _remove_log(file)
    _fresh(file).rename(file)
    flush_folder(file.parent)
    return folder


def _remove_log(file: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)


def ranges(parts: Iterable[tuple[int, int]], shown: int = 5) -> str:
    """First and last numbers of some runs as "3–9, 12, … (40 in all)"."""
    listed = list(parts)
    texts = [str(first) if first == last else f"{first}–{last}" for first, last in listed[:shown]]
    count = sum(last - first + 1 for first, last in listed)
    return ", ".join(texts) + (f", … ({count} in all)" if len(listed) > shown else "")
