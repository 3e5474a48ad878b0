"""Results into SQLite or PostgreSQL."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.logger.addresses import database, words_of
from edge.logger.stores.rows import row
from edge.logger.stores.sink import RefusedError, Reject
from edge.logger.stores.tables import prepare, tables
from edge.records import FieldRecord, ModelReference, Record

LARGEST_PAGE = 256
LOCKED_S = 5.0
"""How long to wait for another logger that is opening the same SQLite file."""
REJECTS_PER_TOPIC, REJECTS_IN_ALL = 500, 5000
"""The newest that are kept: nonsense on one topic neither fills the disk nor displaces what came on another."""
# Of PostgreSQL's error classes those that the data cause: cardinality, data, integrity, limits (an indexed value
# that is too long), and a trigger of the laboratory's own.
_DATA_STATES = ("21", "22", "23", "44", "54", "P0")
_CANARY = Record(
    id="00000000-0000-7000-8000-000000000000",
    device="canary",
    sequence=0,
    captured_at="1970-01-01T00:00:00.000000Z",
    monotonic_ns=0,
    specimen="",
    source="",
    verdict="refer",
    probabilities={},
    reasons=[],
    quality={},
    timings_ms={},
    model=ModelReference(name="", sha256=""),
    settings_sha256="",
    software="",
)


class SqlSink:
    """Tables `cells`, `fields` and `rejects` in an SQL database.

    Args:
        target: `sqlite:///FILE` or `postgresql://…`.

    Raises:
        InputError: it is not such an address, or the tables are another program's.
        LeukoscopeError: SQLAlchemy is missing, or the database cannot be opened.
    """

    def __init__(self, target: str):
        where = database(target)
        import sqlalchemy
        from sqlalchemy.dialects import postgresql, sqlite

        self.name = where.name
        self._sql = sqlalchemy
        self._tables = tables()
        insert: Callable[..., Any] = sqlite.insert if where.file else postgresql.insert
        once = [
            insert(table).on_conflict_do_nothing(index_elements=["id"])
            for table in (self._tables.cells, self._tables.fields)
        ]
        self._insert_cells, self._insert_fields = once[0].returning(self._tables.cells.c.id), once[1]
        # What the driver raises for values that it cannot even write is no SQLAlchemyError.
        self._failures = (sqlalchemy.exc.SQLAlchemyError, ValueError, OverflowError, TypeError)
        try:
            self._engine = sqlalchemy.create_engine(
                where.url, pool_pre_ping=True, connect_args=where.connect_args
            )
            if where.file:
                sqlalchemy.event.listen(self._engine, "connect", _durable)
            prepare(self._engine, self._tables.metadata)
        except ImportError as error:
            raise LeukoscopeError(f"{self.name} needs a driver: pip install 'leukoscope[log]'") from error
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        except self._failures as error:
            folder = where.file.parent if where.file else None
            why = f"there is no folder {folder}" if folder and not folder.is_dir() else words_of(error)
            raise LeukoscopeError(f"cannot open {self.name}: {why}") from None

    def store(
        self, records: Sequence[Record], rejects: Sequence[Reject], fields: Sequence[FieldRecord] = ()
    ) -> list[bool]:
        """See Sink."""
        try:
            with self._engine.begin() as connection:
                added: set[str] = set()
                for page in _pages([row(record) for record in records]):
                    added.update(connection.execute(self._insert_cells, page).scalars())
                for page in _pages([row(field) for field in fields]):
                    connection.execute(self._insert_fields, page)
                if rejects:
                    refused = [msgspec.structs.asdict(reject) for reject in rejects]
                    connection.execute(self._tables.rejects.insert(), refused)
                    self._prune(connection, {reject.topic for reject in rejects})
        except self._failures as error:
            raise self._fault(error) from None
        return first_of_each(records, added)

    def close(self) -> None:
        """See Sink."""
        self._engine.dispose()

    def _prune(self, connection: Any, topics: set[str]) -> None:
        table = self._tables.rejects
        bounds = [(table.c.topic == topic, REJECTS_PER_TOPIC) for topic in topics]
        for condition, kept in [*bounds, (self._sql.true(), REJECTS_IN_ALL)]:
            newest = self._sql.select(table.c.received_at).where(condition)
            newest = newest.order_by(table.c.received_at.desc()).offset(kept).limit(1)
            last = connection.execute(newest).scalar()
            if last is not None:
                connection.execute(table.delete().where(condition, table.c.received_at <= last))

    def _fault(self, error: Exception) -> LeukoscopeError:
        words = words_of(error)
        if self._caused_by_data(error) and self._stores_the_canary():
            return RefusedError(f"{self.name} does not take it: {words}")
        return LeukoscopeError(f"cannot store to {self.name}: {words}")

    def _caused_by_data(self, error: Exception) -> bool:
        sql = self._sql.exc
        if not isinstance(error, sql.DBAPIError):
            return not isinstance(error, sql.SQLAlchemyError) or isinstance(error, sql.StatementError)
        state = getattr(error.orig, "sqlstate", None)
        if state:
            return str(state).startswith(_DATA_STATES)
        return isinstance(error, (sql.DataError, sql.IntegrityError))

    def _stores_the_canary(self) -> bool:
        """Whether the database takes a record that is surely harmless; it is not kept."""
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                connection.execute(self._insert_cells, [row(_CANARY)])
                transaction.rollback()
        except self._failures:
            return False
        return True


def first_of_each(records: Sequence[Record], added: set[str]) -> list[bool]:
    """True for each record that was added, at the first that has its id; `added` is used up."""
    new = []
    for record in records:
        new.append(record.id in added)
        added.discard(record.id)
    return new


def _pages(rows: list[Any]) -> Iterator[list[Any]]:
    """The rows in pages of 256, 128, … 1: drivers keep each statement that they have seen, one per size."""
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
            # Loggers may start together, and SQLite does not wait for a lock when the journal's mode changes.
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits when the power fails
    cursor.close()
