"""The logger's tables in an SQL database, and how older ones become today's."""

from collections.abc import Callable
from typing import Any

from edge.errors import InputError
from edge.records import Record

COLUMNS = Record.__struct_fields__
# What stands beside the version in `leukoscope_schema`; 0 is an empty database.
VERSION = 2
# For PostgreSQL's advisory lock, so that loggers that start together do not migrate at once.
_LOCK = 0x1E0C05
_MAY_BE_NULL = ("image", "clock_synchronised")


def tables() -> tuple[Any, Any, Any]:
    """Tables `cells` and `rejects` of today, and their metadata."""
    import sqlalchemy
    from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Text

    metadata = sqlalchemy.MetaData()
    types = {
        "schema": Integer,
        "sequence": BigInteger,
        "monotonic_ns": BigInteger,
        "clock_synchronised": Boolean,
    }
    columns: list[Any] = [
        Column(name, types.get(name, Text), primary_key=name == "id", nullable=name in _MAY_BE_NULL)
        for name in COLUMNS
    ]
    cells = sqlalchemy.Table("cells", metadata, *columns)
    rejects = sqlalchemy.Table(
        "rejects",
        metadata,
        Column("received_at", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("reason", Text, nullable=False),
    )
    sqlalchemy.Table("leukoscope_schema", metadata, Column("version", Integer, nullable=False))
    return cells, rejects, metadata


def _clock_and_indexes(execute: Callable[[str], Any]) -> None:
    execute("ALTER TABLE cells ADD COLUMN clock_synchronised BOOLEAN")
    _indexes(execute)


def _indexes(execute: Callable[[str], Any]) -> None:
    for column in ("device", "specimen", "captured_at"):
        second = ", sequence" if column == "device" else ""
        execute(f"CREATE INDEX IF NOT EXISTS cells_by_{column} ON cells ({column}{second})")


# From each version to the next, beginning with 1: what the first loggers made, which kept no version.
_STEPS = {1: _clock_and_indexes}


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
        if version == 0:
            metadata.create_all(connection)
            _indexes(connection.exec_driver_sql)
        for step in range(version, VERSION) if version else ():
            _STEPS[step](connection.exec_driver_sql)
        if version < VERSION:
            metadata.create_all(connection)  # the table of the version, where there was none
            connection.exec_driver_sql("DELETE FROM leukoscope_schema")
            connection.exec_driver_sql(f"INSERT INTO leukoscope_schema VALUES ({VERSION})")  # noqa: S608


def _version(inspector: Any, connection: Any) -> int:
    names = inspector.get_table_names()
    if "cells" not in names:
        return 0
    present = {column["name"] for column in inspector.get_columns("cells")}
    if not {"id", "device", "sequence"} <= present:
        raise InputError("its table cells is another program's; name another database")
    if "leukoscope_schema" not in names:
        return 1
    return int(connection.exec_driver_sql("SELECT version FROM leukoscope_schema").scalar_one())
