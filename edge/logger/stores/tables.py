"""The logger's tables in an SQL database, and how older ones become today's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.errors import InputError
from edge.logger.stores.rows import CELL_COLUMNS, FIELD_COLUMNS, MAY_BE_NULL

# Stored in `leukoscope_schema`; 0 is an empty database.
VERSION = 4
# For PostgreSQL's advisory lock, so that loggers that start together do not migrate at once.
_LOCK = 0x1E0C05
_INDEXES = {
    "cells": ("device, sequence", "specimen, id", "captured_at"),
    "fields": ("device, sequence", "specimen"),
    "reviews": ("cell",),
}
# By these columns tables of these names are known as ours.
_OURS = {
    "cells": {"id", "device", "sequence"},
    "fields": {"id", "device", "sequence"},
    "reviews": {"cell", "label", "reviewer", "at"},
    "rejects": {"received_at", "topic", "payload", "reason"},
}


@dataclass(frozen=True)
class Tables:
    """SQLAlchemy's tables: one row per cell, per field of view, per review, per message that was not stored."""

    cells: Any
    fields: Any
    reviews: Any
    rejects: Any
    metadata: Any


def tables() -> Tables:
    """The tables of today."""
    import sqlalchemy
    from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Text

    metadata = sqlalchemy.MetaData()
    types = {
        "schema": Integer,
        "sequence": BigInteger,
        "monotonic_ns": BigInteger,
        "cells": BigInteger,
        "clock_synchronised": Boolean,
    }

    def table(name: str, *columns: Any) -> Any:
        return sqlalchemy.Table(name, metadata, *columns)

    def of_record(names: tuple[str, ...]) -> list[Any]:
        return [
            Column(name, types.get(name, Text), primary_key=name == "id", nullable=name in MAY_BE_NULL)
            for name in names
        ]

    cells, fields = table("cells", *of_record(CELL_COLUMNS)), table("fields", *of_record(FIELD_COLUMNS))
    reviews = table(
        "reviews",  # rows are only added; of a cell's reviews the newest counts
        Column("cell", Text, nullable=False),
        Column("label", Text, nullable=False),
        Column("reviewer", Text, nullable=False),
        Column("at", Text, nullable=False),
        Column("comment", Text, nullable=True),
    )
    rejects = table(
        "rejects",
        Column("received_at", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("reason", Text, nullable=False),
    )
    table("leukoscope_schema", Column("version", Integer, nullable=False))
    return Tables(cells, fields, reviews, rejects, metadata)


def _clock(execute: Callable[[str], Any]) -> None:
    execute("ALTER TABLE cells ADD COLUMN clock_synchronised BOOLEAN")


def _field_and_kind(execute: Callable[[str], Any]) -> None:
    execute("ALTER TABLE cells ADD COLUMN field TEXT")
    execute("ALTER TABLE cells ADD COLUMN kind TEXT")


def _specimen_in_order(execute: Callable[[str], Any]) -> None:
    # Made anew with the id behind it: a specimen's cells can be read page by page without a sort.
    execute("DROP INDEX IF EXISTS cells_by_specimen")


def _indexes(execute: Callable[[str], Any]) -> None:
    for table, indexes in _INDEXES.items():
        for columns in indexes:
            name = f"{table}_by_{columns.partition(',')[0]}"
            execute(f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({columns})")


# From each version to the next, beginning with 1: what the first loggers made, which kept no version. Tables and
# indexes that are missing are made after the last step.
_STEPS = {1: _clock, 2: _field_and_kind, 3: _specimen_in_order}


def prepare(engine: Any, metadata: Any) -> None:
    """Make the tables, or bring them to today's version, all in one transaction.

    Raises:
        InputError: a newer logger made them, or they are another program's.
    """
    import sqlalchemy

    with engine.begin() as connection:
        lite = connection.dialect.name == "sqlite"
        # Without it, Python's sqlite3 changes tables outside the transaction.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if lite else f"SELECT pg_advisory_xact_lock({_LOCK})")
        version = _version(sqlalchemy.inspect(connection), connection)
        if version > VERSION:
            raise InputError(
                f"a newer Leukoscope made its tables (version {version}, this one knows {VERSION}); update this logger"
            )
        for step in range(version, VERSION) if version else ():
            _STEPS[step](connection.exec_driver_sql)
        if version < VERSION:
            metadata.create_all(connection)
            _indexes(connection.exec_driver_sql)
            connection.exec_driver_sql("DELETE FROM leukoscope_schema")
            connection.exec_driver_sql(f"INSERT INTO leukoscope_schema VALUES ({VERSION})")  # noqa: S608


def _version(inspector: Any, connection: Any) -> int:
    names = inspector.get_table_names()
    for table, wanted in _OURS.items():
        if table in names:
            present = {column["name"] for column in inspector.get_columns(table)}
            if not wanted <= present:
                raise InputError(f"its table {table} is another program's; name another database")
    if "cells" not in names:
        return 0
    if "leukoscope_schema" not in names:
        return 1
    return int(connection.exec_driver_sql("SELECT version FROM leukoscope_schema").scalar_one())
