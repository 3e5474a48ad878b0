"""A damaged outbox file: set aside, and what can still be read of it put into a new one."""

import json
import mmap
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from edge.errors import InputError, LeukoscopeError
from edge.host.durable import flush_folder
from edge.records import Record, decode_record

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS records (sequence INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO meta VALUES ('last_sequence', 0);
COMMIT;
"""
# How every record begins in the file, and the longest that is searched for its end.
_RECORD = re.compile(rb'\{"schema":1,"id":"')
_LONGEST_BYTES = 65536
# A file of which nothing is left still shows by this that it was a database.
_MAGIC = b"SQLite format 3\x00"


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file itself is broken, not that it is full, busy or not writable."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        words in str(error) for words in ("malformed", "not a database", "no such table")
    )


def check_and_recover(file: Path, known_last: int, found: str = "") -> str:
    """Look whether an outbox file is whole; where it is not, set it aside and begin a new one with its records.

    Args:
        file: the database, used by nobody.
        known_last: a sequence that was given for certain, from outside the file.
        found: damage that was met already, and that a check might not see.

    Returns:
        What happened, in one line; "" where the file is whole or new.

    Raises:
        LeukoscopeError: the file was never an outbox, or nothing can be written beside it.
    """
    fresh = _fresh(file)
    if not file.exists() and fresh.exists():  # a recovery that was cut off before its last step
        fresh.rename(file)
    if not file.exists() or file.stat().st_size == 0:
        return f"{file} is gone; sequences go on from {known_last}" if known_last else ""
    wal_file = Path(f"{file}-wal")
    wal = wal_file.read_bytes() if wal_file.exists() else b""  # SQLite drops what follows a torn page of it
    damage, last = _check(file, known_last)
    damage = damage or found
    return _recover(file, damage, max(last, known_last), wal) if damage else ""


def _fresh(file: Path) -> Path:
    return Path(f"{file}.recovered")


def _check(file: Path, known_last: int) -> tuple[str, int]:
    """What is wrong with the file, "" for nothing; and the last sequence that it knows."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        try:
            last = _last_sequence(db)
            (finding,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return str(error), 0
    if finding != "ok":
        return finding, last
    return (f"its last {known_last - last} records are missing" if last < known_last else ""), last


def _last_sequence(db: sqlite3.Connection) -> int:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables - {"records", "meta"}:
        raise InputError(
            f"it is another database, with tables {', '.join(sorted(tables))}; name another file"
        )
    if not tables:  # the power went before the first commit
        return 0
    return int(db.execute("SELECT value FROM meta WHERE key = 'last_sequence'").fetchone()[0])


def _copy_readable(old: sqlite3.Connection, new: sqlite3.Connection, last: int) -> set[int]:
    """Copy what SQL can read: from both ends up to a broken page, then each record between; its sequences."""
    found: set[int] = set()

    def copy(query: str, *values: int) -> bool:
        try:
            for sequence, payload in old.execute(query, values):
                if sequence in found:
                    break
                if valid(sequence, payload):
                    new.execute("INSERT INTO records VALUES (?, ?)", (sequence, payload))
                    found.add(sequence)
        except sqlite3.DatabaseError:
            return False
        return True

    whole = copy("SELECT * FROM records ORDER BY sequence")
    if not whole and not copy("SELECT * FROM records ORDER BY sequence DESC") and found:
        for sequence in set(range(min(found), max(last, *found) + 1)) - found:
            copy("SELECT * FROM records WHERE sequence = ?", sequence)
    return found


def valid(sequence: int, payload: object) -> bool:
    """Whether a row is a whole record with its own sequence; a torn page may leave half of one."""
    try:
        return isinstance(payload, bytes) and decode_record(payload).sequence == sequence
    except InputError:
        return False


def carve(data: "bytes | mmap.mmap") -> Iterator[tuple[Record, bytes]]:
    """The whole records that stand anywhere in raw bytes, with their JSON."""
    decoder = json.JSONDecoder()
    for match in _RECORD.finditer(data):
        raw = bytes(data[match.start() : match.start() + _LONGEST_BYTES])
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            text = raw[: error.start].decode()
        try:
            payload = text[: decoder.raw_decode(text)[1]].encode()
            yield decode_record(payload), payload
        except (ValueError, RecursionError, InputError):
            continue


def _recover(file: Path, damage: str, last: int, wal: bytes) -> str:
    fresh = _fresh(file)
    fresh.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(fresh, isolation_level=None)) as new,
        file.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as raw,
    ):
        new.execute("PRAGMA synchronous=FULL")
        new.executescript(SCHEMA)
        new.execute("BEGIN")
        found = _copy_readable(old, new, last)
        # A record that was removed may be found again: it is sent again, and stored once by its id.
        for source in (raw, wal):
            for record, payload in carve(source):
                if record.sequence not in found:
                    new.execute("INSERT INTO records VALUES (?, ?)", (record.sequence, payload))
                    found.add(record.sequence)
        last = max(last, *found, 0)
        new.execute("UPDATE meta SET value = ?", (last,))
        new.execute("COMMIT")
        was_outbox = bool(found or last or raw[: len(_MAGIC)] == _MAGIC)
    if not was_outbox:
        fresh.unlink()
        raise LeukoscopeError(f"it is no outbox ({damage}); name another file")
    aside = _set_aside(file, wal)
    missing = sorted(set(range(min(found, default=last), last)) - found)
    told = f"; not found: {ranges(missing)}" if missing else ""
    return f"damaged ({damage}), set aside as {aside}; {len(found)} records recovered{told}; goes on after {last}"


def _set_aside(file: Path, wal: bytes) -> Path:
    """Put the new file in the old one's place; gives the folder that holds the old one."""
    aside = Path(f"{file}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}")
    aside.mkdir()
    if wal:
        (aside / f"{file.name}-wal").write_bytes(wal)
    file.rename(aside / file.name)
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    _fresh(file).rename(file)
    flush_folder(file.parent)
    return aside


def ranges(numbers: list[int], shown: int = 5) -> str:
    """Sorted numbers as "3–9, 12, … (40 in all)"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    texts = [str(first) if first == last else f"{first}–{last}" for first, last in parts[:shown]]
    return ", ".join(texts) + (f", … ({len(numbers)} in all)" if len(parts) > shown else "")
