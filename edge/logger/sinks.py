"""Where the subscriber stores results: SQLite, PostgreSQL, CSV or JSON lines."""

import csv
import fcntl
import io
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.logger.tables import COLUMNS, prepare, tables
from edge.records import Record

# What a CSV of an earlier version lacks at its end.
LATER_COLUMNS = ("clock_synchronised",)
LARGEST_PAGE = 256
LOCKED_S = 5.0
"""How long to wait for another logger that is opening the same SQLite file."""


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no record: when (RFC 3339) and where it came, its bytes, why it was refused."""

    received_at: str
    topic: str
    payload: bytes
    reason: str


class Sink(Protocol):
    """A store of results.

    Attributes:
        name: what it is, without secrets; the same at every start.
    """

    name: str

    def store(self, records: list[Record], rejects: list[Reject]) -> list[bool]:
        """Store all or nothing, durably; True for each record that was not there yet.

        Raises:
            LeukoscopeError: it failed and nothing was stored; the same call may be made again.
        """

    def close(self) -> None:
        """Give back what is open."""


def open_sink(target: str) -> Sink:
    """Open `sqlite:///FILE`, `postgresql://…`, `FILE.csv` or `FILE.jsonl`.

    Raises:
        InputError: it is none of these, or a file that holds something else.
        LeukoscopeError: it cannot be opened, or SQLAlchemy is missing.
    """
    if target.startswith(("sqlite:", "postgresql:", "postgresql+psycopg:")):
        return SqlSink(target)
    if "://" not in target and target.endswith((".csv", ".jsonl")):
        return FileSink(Path(target))
    shown = target.partition("://")[0] + "://…" if "://" in target else target  # it may hold a password
    raise InputError(f"cannot store to {shown}: use sqlite:///FILE, postgresql://…, FILE.csv or FILE.jsonl")


def _row(record: Record) -> dict[str, Any]:
    """One value a top-level field; nested ones as JSON text."""
    row = {name: getattr(record, name) for name in COLUMNS}
    return {
        name: value if value is None or isinstance(value, (str, int)) else msgspec.json.encode(value).decode()
        for name, value in row.items()
    }


class SqlSink:
    """Tables `cells` and `rejects` in an SQL database.

    Args:
        target: SQLAlchemy address; `postgresql://` means psycopg 3.
    """

    def __init__(self, target: str):
        try:
            import sqlalchemy
            from sqlalchemy.dialects import postgresql, sqlite
        except ImportError as error:
            raise LeukoscopeError("databases need SQLAlchemy: pip install 'leukoscope[log]'") from error
        self._failure = sqlalchemy.exc.SQLAlchemyError
        try:
            url = sqlalchemy.make_url(target)
        except self._failure as error:
            raise InputError("the database address cannot be read: sqlite:///FILE, postgresql://…") from error
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        self.name = url.render_as_string(hide_password=True)
        self._cells, self._rejects, metadata = tables()
        lite = url.get_backend_name() == "sqlite"
        insert: Callable[..., Any] = sqlite.insert if lite else postgresql.insert
        once = insert(self._cells).on_conflict_do_nothing(index_elements=["id"])
        self._insert = once.returning(self._cells.c.id)
        try:
            self._engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
            if lite:
                sqlalchemy.event.listen(self._engine, "connect", _durable)
            prepare(self._engine, metadata)
        except ImportError as error:
            raise LeukoscopeError(f"{self.name} needs a driver: pip install 'leukoscope[log]'") from error
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        except self._failure as error:
            raise LeukoscopeError(f"cannot open {self.name}: {_first_line(error)}") from error

    def store(self, records: list[Record], rejects: list[Reject]) -> list[bool]:
        """See Sink."""
        try:
            with self._engine.begin() as connection:
                added: set[str] = set()
                if records:
                    rows = [_row(record) for record in records]
                    for page in _pages(rows):
                        added.update(connection.execute(self._insert, page).scalars())
                if rejects:
                    refused = [msgspec.structs.asdict(reject) for reject in rejects]
                    connection.execute(self._rejects.insert(), refused)
        except self._failure as error:
            raise LeukoscopeError(f"cannot store to {self.name}: {_first_line(error)}") from error
        return _new(records, added)

    def close(self) -> None:
        """See Sink."""
        self._engine.dispose()


def _pages(rows: list[Any]) -> Iterator[list[Any]]:
    """The rows in pages of 256, 128, … 1: drivers keep each statement that they have seen, one for each size."""
    start, size = 0, LARGEST_PAGE
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    until = time.monotonic() + LOCKED_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # Loggers may start together, and SQLite does not wait for a lock where the journal's mode changes.
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits when the power fails
    cursor.close()


def _first_line(error: Exception) -> str:
    """What the driver says, without SQLAlchemy's statement and values."""
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0]


def _new(records: list[Record], added: set[str]) -> list[bool]:
    """True where a record was added, at the first that has its id."""
    new = []
    for record in records:
        new.append(record.id in added)
        added.discard(record.id)
    return new


class FileSink:
    """Appends to a CSV or JSON lines file; rejects go to a file beside it, `NAME.rejects.jsonl`.

    Args:
        file: ends in .csv or .jsonl; the ids in it are read, so that none stands twice.
    """

    def __init__(self, file: Path):
        self.name = str(file.resolve())
        self._path = file
        try:
            self._file: IO[bytes] = open(file, "a+b")
            self._rejects: IO[bytes] = open(file.with_suffix(".rejects.jsonl"), "ab")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LeukoscopeError(f"{file}: another logger writes to it; name another file") from error
            self._ids = self._recover()
        except OSError as error:
            raise LeukoscopeError(f"cannot open {file}: {error.strerror}") from error

    def store(self, records: list[Record], rejects: list[Reject]) -> list[bool]:
        """See Sink."""
        added = {record.id for record in records} - self._ids
        new = _new(records, set(added))
        fresh = [record for record, is_new in zip(records, new) if is_new]
        if self._path.suffix == ".csv":
            data = _csv_lines([_csv_row(record) for record in fresh])
        else:
            data = b"".join(msgspec.json.encode(record) + b"\n" for record in fresh)
        try:
            self._append(self._rejects, b"".join(_reject_line(reject) for reject in rejects))
            self._append(self._file, data)
        except OSError as error:
            raise LeukoscopeError(f"cannot write {self._path}: {error.strerror}") from error
        self._ids |= added
        return new

    def close(self) -> None:
        """See Sink."""
        self._file.close()
        self._rejects.close()

    @staticmethod
    def _append(file: IO[bytes], data: bytes) -> None:
        """Write and sync, or leave the file as it was."""
        if not data:
            return
        size = os.fstat(file.fileno()).st_size
        try:
            rest = memoryview(data)
            while rest:  # past the buffer of `file`, which would keep what could not be written
                rest = rest[os.write(file.fileno(), rest) :]
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise

    def _recover(self) -> set[str]:
        """Cut off a line that a crash left unfinished (it was never acknowledged), and read the ids."""
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._file.truncate(len(whole))
        try:
            if self._path.suffix == ".jsonl":
                return {msgspec.json.decode(line)["id"] for line in whole.splitlines() if line.strip()}
            rows = list(csv.reader(io.StringIO(whole.decode(), newline="")))
            if not rows:
                self._append(self._file, _csv_lines([COLUMNS]))
            elif tuple(rows[0]) == COLUMNS[: -len(LATER_COLUMNS)]:
                self._widen(rows)
            elif tuple(rows[0]) != COLUMNS:
                raise ValueError(f"its columns are {', '.join(rows[0])}")
            return {row[COLUMNS.index("id")] for row in rows[1:]}
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError, csv.Error) as error:
            raise InputError(f"{self._path} holds no results: {error}; name another file") from error

    def _widen(self, rows: list[list[str]]) -> None:
        """Give a file of an earlier version the columns that came later, all at once or not at all."""
        fresh = self._path.with_suffix(".csv.new")
        blank = [""] * len(LATER_COLUMNS)
        with open(fresh, "w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._append(file, _csv_lines([COLUMNS, *(row + blank for row in rows[1:])]))
            fresh.replace(self._path)
            self._file.close()
            self._file = os.fdopen(os.dup(file.fileno()), "a+b")


def _reject_line(reject: Reject) -> bytes:
    fields = msgspec.structs.asdict(reject)
    return msgspec.json.encode({**fields, "payload": reject.payload.decode("utf-8", "replace")}) + b"\n"


def _csv_row(record: Record) -> list[Any]:
    return [str(value).lower() if isinstance(value, bool) else value for value in _row(record).values()]


def _csv_lines(rows: list[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
