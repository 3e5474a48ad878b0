"""Questions to a logger's database: totals by specimen or device, the last hours, and rows as CSV."""

import argparse
import csv
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.logger.tables import COLUMNS, tables
from edge.notice import NOTICE
from edge.records import rfc3339

_SPAN = re.compile(r"^(\d+(?:\.\d+)?)([smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Rows that are held at once while a CSV is written.
CHUNK = 1000


class Total(msgspec.Struct, frozen=True):
    """What the results of one specimen or device add up to; times are RFC 3339.

    Attributes:
        key: the specimen or the device.
        results: how many; `all`, `hem` and `refer` of them by verdict.
        mean_probability: of ALL, over all of them.
        first, last: when the first and the last were captured.
    """

    key: str
    results: int
    all: int
    hem: int
    refer: int
    mean_probability: float
    first: str
    last: str


class Results:
    """A logger's database, only read.

    Args:
        target: `sqlite:///FILE` or `postgresql://…`.

    Raises:
        InputError: it is not such an address, or holds no results.
        LeukoscopeError: SQLAlchemy is missing or the database cannot be reached.
    """

    def __init__(self, target: str):
        try:
            import sqlalchemy
        except ImportError as error:
            raise LeukoscopeError("databases need SQLAlchemy: pip install 'leukoscope[log]'") from error
        self._sql = sqlalchemy
        try:
            url = sqlalchemy.make_url(target)
        except sqlalchemy.exc.ArgumentError as error:
            raise InputError("the database address cannot be read: sqlite:///FILE, postgresql://…") from error
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            raise InputError(f"{url.database}: no such file; leukoscope log writes it")
        self._name = url.render_as_string(hide_password=True)
        self._cells = tables()[0]
        try:
            self._engine = sqlalchemy.create_engine(url)
            found = sqlalchemy.inspect(self._engine).has_table("cells")
        except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
            raise LeukoscopeError(f"cannot read {self._name}: {str(error).splitlines()[0]}") from error
        if not found:
            raise InputError(f"{self._name} holds no results; leukoscope log writes them")

    def totals(self, by: str, **conditions: Any) -> list[Total]:
        """Totals by "specimen" or "device", in the order of the first result.

        Args:
            by: the column.
            **conditions: device, specimen: only these; last_s: seconds back from now.
        """
        sql, cells = self._sql, self._cells
        key = cells.c[by]
        verdicts = [
            sql.func.sum(sql.case((cells.c.verdict == v, 1), else_=0)) for v in ("ALL", "HEM", "refer")
        ]
        sqlite = self._engine.dialect.name == "sqlite"
        probability = (
            sql.func.json_extract(cells.c.probabilities, "$.ALL")
            if sqlite
            else sql.cast(sql.cast(cells.c.probabilities, sql.JSON)["ALL"].as_string(), sql.Float)
        )
        first, last = sql.func.min(cells.c.captured_at), sql.func.max(cells.c.captured_at)
        query = (
            sql.select(key, sql.func.count(), *verdicts, sql.func.avg(probability), first, last)
            .where(*self._where(**conditions))
            .group_by(key)
            .order_by(first)
        )
        return [Total(*row) for row in self._run(query)]

    def rows(self, **conditions: Any) -> Iterator[Any]:
        """Whole rows in the order of device and sequence; conditions as for `totals`."""
        cells = self._cells
        query = (
            self._sql.select(*(cells.c[name] for name in COLUMNS))
            .where(*self._where(**conditions))
            .order_by(cells.c.device, cells.c.sequence)
        )
        return self._run(query)

    def _where(self, device: str | None = None, specimen: str | None = None, last_s: float = 0) -> list[Any]:
        cells, found = self._cells, []
        if device is not None:
            found.append(cells.c.device == device)
        if specimen is not None:
            found.append(cells.c.specimen == specimen)
        if last_s:
            found.append(cells.c.captured_at >= rfc3339(time.time_ns() - round(last_s * 1e9)))
        return found

    def _run(self, query: Any) -> Iterator[Any]:
        try:
            with self._engine.connect().execution_options(yield_per=CHUNK) as connection:
                yield from connection.execute(query)
        except self._sql.exc.SQLAlchemyError as error:
            words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise LeukoscopeError(f"cannot read {self._name}: {words}") from error


def span_s(text: str) -> float:
    """Seconds of "90s", "15m", "1h" or "7d".

    Raises:
        InputError: it is not of that form.
    """
    match = _SPAN.match(text)
    if match is None:
        raise InputError(f"--last {text}: a number and s, m, h or d, such as 1h")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def command(options: argparse.Namespace) -> int:
    """`leukoscope results`."""
    results = Results(options.database)
    last_s = span_s(options.last) if options.last else 0
    conditions = {"device": options.device, "specimen": options.specimen, "last_s": last_s}
    if options.csv is not None:
        _write_csv(results, options.csv, conditions)
        return 0
    totals = results.totals(options.by, **conditions)
    if options.json:
        for total in totals:
            print(msgspec.json.encode({options.by: total.key, **msgspec.structs.asdict(total)}).decode())
        return 0
    print(f"{options.by:24} {'results':>8} {'ALL':>7} {'HEM':>7} {'refer':>7} {'mean p':>7}  first … last")
    for t in totals:
        print(
            f"{t.key or '–':24} {t.results:8} {t.all:7} {t.hem:7} {t.refer:7} {t.mean_probability:7.3f}  "
            f"{t.first[:19]} … {t.last[:19]}"
        )
    print(NOTICE, file=sys.stderr)
    return 0


def _write_csv(results: Results, file: str, conditions: dict[str, Any]) -> None:
    if file == "-":
        _write_rows(results, sys.stdout, conditions)
        return
    try:
        with Path(file).open("w", newline="", encoding="utf-8") as out:
            count = _write_rows(results, out, conditions)
    except OSError as error:
        raise LeukoscopeError(f"cannot write {file}: {error.strerror}") from error
    print(f"{count} results to {file}; {NOTICE}", file=sys.stderr)


def _write_rows(results: Results, out: IO[str], conditions: dict[str, Any]) -> int:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for row in results.rows(**conditions):
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row])
        count += 1
    return count
