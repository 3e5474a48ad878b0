"""Questions to a logger's database: totals by specimen or device, the last hours, and whole rows."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.logger.addresses import database, words_of
from edge.logger.stores.rows import CELL_COLUMNS, record_of
from edge.logger.stores.tables import VERSION, tables
from edge.records import Record, rfc3339
from edge.specimen.counting import OTHER, SHIPPED, Classes, classes_in, columns

log = logging.getLogger(__name__)

# Rows that are held at once while they are read.
CHUNK = 1000


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What the results of one specimen or device add up to; times are RFC 3339.

    Attributes:
        key: the specimen or the device.
        results: how many.
        counts: by what they count as, see `edge.specimen.counting.columns`; they add up to `results`.
        mean_probability: of the positive class, over all that have one; None if none has.
        first, last: when the first and the last were captured.
        classes: the class names of the models.
    """

    key: str
    results: int
    counts: dict[str, int]
    mean_probability: float | None
    first: str
    last: str
    classes: list[Classes]


class _Group(NamedTuple):
    """Results of one key that count alike."""

    verdict: str
    other: bool
    results: int
    sum_probability: float | None
    probabilities: int
    first: str
    last: str
    sample: str | None


def _total(key: str, groups: list[_Group]) -> Total:
    """What the groups of one key add up to."""
    classes = list(dict.fromkeys(filter(None, (_classes(group.sample) for group in groups)))) or [SHIPPED]
    counts = dict.fromkeys(columns(classes), 0)
    for group in groups:
        name = OTHER if group.other else group.verdict
        counts[name] = counts.get(name, 0) + group.results
    with_probability = sum(group.probabilities for group in groups)
    mean = (
        sum(group.sum_probability or 0.0 for group in groups) / with_probability if with_probability else None
    )
    return Total(
        key=key,
        results=sum(group.results for group in groups),
        counts=counts,
        mean_probability=mean,
        first=min(group.first for group in groups),
        last=max(group.last for group in groups),
        classes=classes,
    )


def _classes(probabilities: str | None) -> Classes | None:
    try:
        return classes_in(msgspec.json.decode(probabilities or "{}", type=dict[str, float]))
    except (msgspec.MsgspecError, ValueError):
        return None


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
        key, probability = cells.c[by], self.probability()
        other = (sql.func.coalesce(self._kind, "") == OTHER).label("is_other")
        # One row with probabilities tells the classes of all of its group.
        sample = sql.func.max(sql.func.nullif(cells.c.probabilities, "{}"))
        query = (
            sql.select(
                key,
                cells.c.verdict,
                other,
                sql.func.count(),
                sql.func.sum(probability),
                sql.func.count(probability),
                sql.func.min(cells.c.captured_at),
                sql.func.max(cells.c.captured_at),
                sample,
            )
            .where(*self._where(**conditions))
            .group_by(
                key, cells.c.verdict, sql.text("is_other")
            )  # by its name: PostgreSQL compares parameters
        )
        groups: dict[str, list[_Group]] = {}
        for name, *values in self.run(query):
            groups.setdefault(name, []).append(_Group(*values))
        return sorted(
            (_total(*named) for named in groups.items()), key=lambda total: (total.first, total.key)
        )

    def classes(self, **conditions: Any) -> list[Classes]:
        """The class names of the models whose results are here, each pair once; none if no result tells them.

        Conditions as for `totals`.
        """
        sql, cells = self.sql, self._cells
        query = (
            sql.select(sql.func.max(sql.func.nullif(cells.c.probabilities, "{}")))
            .where(*self._where(**conditions))
            .group_by(cells.c.model)
        )
        return list(dict.fromkeys(filter(None, (_classes(row[0]) for row in self.run(query)))))

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
        yield from self._records_in(self.rows(**conditions))

    def records_of(self, ids: Sequence[str]) -> Iterator[Record]:
        """The records with these ids, some hundred at most; those that are not here are left out."""
        columns = self.sql.select(*self.columns)
        yield from self._records_in(self.run(columns.where(self._cells.c.id.in_(ids))))

    def _records_in(self, rows: Iterable[Any]) -> Iterator[Record]:
        for row in rows:
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
        """The probability of the positive class, as a column of a query: of ALL, or of the class that stands first."""
        sql, column = self.sql, self._cells.c.probabilities
        if self.engine.dialect.name == "sqlite":
            first = sql.func.json_each(column).table_valued("value")
            shipped: Any = sql.func.json_extract(column, f"$.{SHIPPED.positive}")
        else:
            first = sql.func.json_each_text(sql.cast(column, sql.JSON)).table_valued("value")
            shipped = sql.cast(sql.cast(column, sql.JSON)[SHIPPED.positive].as_string(), sql.Float)
        own = sql.cast(sql.select(first.c.value).limit(1).scalar_subquery(), sql.Float)
        return sql.func.coalesce(shipped, own)

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
