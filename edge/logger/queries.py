"""Questions to a logger's database: totals by specimen or device, the last hours, and whole rows."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.logger.addresses import database, words_of
from edge.logger.stores.rows import CELL_COLUMNS, record_of
from edge.logger.stores.tables import VERSION, tables
from edge.records import Record, rfc3339

log = logging.getLogger(__name__)

# Rows that are held at once while they are read.
CHUNK = 1000


class Total(msgspec.Struct, frozen=True):
    """What the results of one specimen or device add up to; times are RFC 3339.

    Attributes:
        key: the specimen or the device.
        results: how many; `all`, `hem`, `refer` and `other` add up to it.
        all, hem: by verdict.
        refer: the verdict is "refer", and the cell may be lymphoid.
        other: the cell is not lymphoid; its verdict is "refer" too.
        mean_probability: of ALL, over all that have one; None if none has.
        first, last: when the first and the last were captured.
    """

    key: str
    results: int
    all: int
    hem: int
    refer: int
    other: int
    mean_probability: float | None
    first: str
    last: str


class Results:
    """A logger's database, to be read.

    Args:
        target: `sqlite:///FILE` or `postgresql://…`.

    Attributes:
        name: what it is, without secrets.
        sql, engine, tables: SQLAlchemy, its engine and the tables of today, for further questions.
        columns: of `cells`, in the order of CELL_COLUMNS.

    Raises:
        InputError: it is not such an address, or holds no results.
        LeukoscopeError: SQLAlchemy is missing or the database cannot be reached.
    """

    def __init__(self, target: str):
        where = database(target)
        import sqlalchemy

        if where.file and not where.file.exists():
            raise InputError(f"{where.file}: no such file; leukoscope log writes it")
        self.sql, self.name = sqlalchemy, where.name
        self.tables = tables()
        self._cells = self.tables.cells
        self._failures = (sqlalchemy.exc.SQLAlchemyError, ValueError)
        try:
            self.engine = sqlalchemy.create_engine(where.url, connect_args=where.connect_args)
            inspector = sqlalchemy.inspect(self.engine)
            self._names = set(inspector.get_table_names())
            found = "cells" in self._names
            columns = {column["name"] for column in inspector.get_columns("cells")} if found else set()
        except (*self._failures, ImportError) as error:
            raise LeukoscopeError(f"cannot read {self.name}: {words_of(error)}") from None
        if not found:
            raise InputError(f"{self.name} holds no results; leukoscope log writes them")
        # A database that no logger of this version has opened yet lacks the latest columns.
        self.columns = [
            self._cells.c[name] if name in columns else sqlalchemy.null().label(name) for name in CELL_COLUMNS
        ]
        self._kind = self._cells.c.kind if "kind" in columns else sqlalchemy.null()
        if not {"id", "device", "sequence"} <= columns:
            raise InputError(f"{self.name}: its table cells is another program's (version {VERSION} is ours)")

    def totals(self, by: str, **conditions: Any) -> list[Total]:
        """Totals by "specimen" or "device", in the order of the first result.

        Args:
            by: the column.
            **conditions: device, specimen: only these; last_s: seconds back from now; reviewed: with a review.
        """
        sql, cells = self.sql, self._cells
        key, other = cells.c[by], sql.func.coalesce(self._kind, "") == "other"

        def count(condition: Any) -> Any:
            return sql.func.sum(sql.case((condition, 1), else_=0))

        counts = [
            *(count(sql.and_(cells.c.verdict == verdict, ~other)) for verdict in ("ALL", "HEM", "refer")),
            count(other),
        ]
        first, last = sql.func.min(cells.c.captured_at), sql.func.max(cells.c.captured_at)
        query = (
            sql.select(key, sql.func.count(), *counts, sql.func.avg(self.probability()), first, last)
            .where(*self._where(**conditions))
            .group_by(key)
            .order_by(first)
        )
        return [Total(*row) for row in self.run(query)]

    def rows(self, **conditions: Any) -> Iterator[Any]:
        """Whole rows in the order of device and sequence; conditions as for `totals`."""
        cells = self._cells
        query = (
            self.sql.select(*self.columns)
            .where(*self._where(**conditions))
            .order_by(cells.c.device, cells.c.sequence)
        )
        return self.run(query)

    def records(self, **conditions: Any) -> Iterator[Record]:
        """The records of `rows`; a row that another program wrote and that is no record is left out."""
        for row in self.rows(**conditions):
            try:
                yield record_of(dict(zip(CELL_COLUMNS, row, strict=True)), Record)
            except InputError as error:
                log.warning("%s: %s", self.name, error)

    def has(self, table: str) -> bool:
        """Whether the database has a table of this name."""
        return table in self._names

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def probability(self) -> Any:
        """The probability of ALL, as a column of a query."""
        sql, column = self.sql, self._cells.c.probabilities
        if self.engine.dialect.name == "sqlite":
            return sql.func.json_extract(column, "$.ALL")
        return sql.cast(sql.cast(column, sql.JSON)["ALL"].as_string(), sql.Float)

    def _where(
        self,
        device: str | None = None,
        specimen: str | None = None,
        last_s: float = 0,
        reviewed: bool = False,
    ) -> list[Any]:
        cells, found = self._cells, []
        if device is not None:
            found.append(cells.c.device == device)
        if specimen is not None:
            found.append(cells.c.specimen == specimen)
        if reviewed:
            table = self.tables.reviews
            found.append(
                cells.c.id.in_(self.sql.select(table.c.cell)) if self.has("reviews") else self.sql.false()
            )
        if last_s:
            found.append(cells.c.captured_at >= rfc3339(max(0, time.time_ns() - round(last_s * 1e9))))
        return found

    def run(self, query: Any) -> Iterator[Any]:
        """The rows of a query.

        Raises:
            LeukoscopeError: the database cannot be read.
        """
        try:
            with self.engine.connect().execution_options(yield_per=CHUNK) as connection:
                yield from connection.execute(query)
        except self._failures as error:
            raise LeukoscopeError(f"cannot read {self.name}: {words_of(error)}") from None
