"""Takes records out of an outbox for good, while no daemon uses it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.errors import LeukoscopeError
from edge.outbox.commit import get_tally, put_tally
from edge.outbox.lock import Lock


class InUseError(LeukoscopeError):
    """The daemon uses the outbox."""


class _Image(msgspec.Struct):
    name: str = ""


class _Named(msgspec.Struct):
    specimen: str = ""
    captured_at: str = ""
    image: _Image | None = None


Unwanted = Callable[[str, str], bool]
"""Whether a record of this specimen and moment (RFC 3339) has to go."""


def forget(file: Path, unwanted: Unwanted, picture_goes: Callable[[str], None]) -> tuple[int, bool]:
    """Remove records that wait, are kept or were set aside, and the tally, and write the file anew without them.

    Numbers are not given again: what is missing leaves a gap.

    Args:
        file: of the outbox; nothing happens if there is none.
        unwanted: decides; of the tally it is asked with its specimen and the moment of its start.
        picture_goes: called with the name of each picture that these records name, before they are removed: if this is cut
            short, the records are there the next time.

    Returns:
        How many records went, and whether the tally did.

    Raises:
        InUseError: a daemon uses it.
        LeukoscopeError: it cannot be written.
    """
    if not file.exists():
        return 0, False
    lock: Lock | None = None
    try:
        try:
            lock = Lock(file.resolve())
            lock.hold_database()
        except LeukoscopeError as error:
            raise InUseError(f"{error} (sudo systemctl stop leukoscope)") from error
        db = sqlite3.connect(file, isolation_level=None)
        try:
            return _forget(db, unwanted, picture_goes)
        finally:
            db.close()
    except InUseError as error:
        raise InUseError(f"outbox {file}: {error}") from error
    except (OSError, sqlite3.Error) as error:
        raise LeukoscopeError(f"outbox {file} cannot be written: {error}") from error
    finally:
        if lock is not None:
            lock.close()


def _forget(
    db: sqlite3.Connection, unwanted: Unwanted, picture_goes: Callable[[str], None]
) -> tuple[int, bool]:
    db.execute("PRAGMA secure_delete=ON")
    db.execute("BEGIN IMMEDIATE")
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    gone = 0
    for table in ("records", "aside"):
        if table not in tables:
            continue
        rows = db.execute(f"SELECT sequence, payload FROM {table}").fetchall()  # noqa: S608  # a fixed name
        going = [(sequence, found) for sequence, payload in rows if (found := _unwanted(payload, unwanted))]
        for _, found in going:
            if found.image is not None:
                picture_goes(found.image.name)
        numbers = [(sequence,) for sequence, _ in going]
        db.executemany(f"DELETE FROM {table} WHERE sequence = ?", numbers)  # noqa: S608
        gone += len(numbers)
    tally = "tally" in tables and _unwanted(get_tally(db), unwanted) is not None
    if tally:
        put_tally(db, b"")
    db.execute("COMMIT")
    if gone or tally:
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return gone, tally


def _unwanted(payload: bytes, unwanted: Unwanted) -> _Named | None:
    """What a record or tally names, if it has to go; else None."""
    try:
        found = msgspec.json.decode(payload, type=_Named)
        if not found.captured_at:  # a tally
            found.captured_at = str(msgspec.json.decode(payload).get("started_at", ""))
    except (msgspec.MsgspecError, AttributeError):
        return None
    return found if unwanted(found.specimen, found.captured_at) else None
