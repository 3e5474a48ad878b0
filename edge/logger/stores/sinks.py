"""The store that an address names: SQLite, PostgreSQL, CSV or JSON lines."""

from pathlib import Path

from edge.errors import InputError
from edge.logger.addresses import is_database, shown
from edge.logger.stores.file_sink import FileSink
from edge.logger.stores.sink import Sink
from edge.logger.stores.sql_sink import SqlSink


def open_sink(target: str) -> Sink:
    """Open `sqlite:///FILE`, `postgresql://…`, `FILE.csv` or `FILE.jsonl`.

    Raises:
        InputError: it is none of these, or a file that holds something else.
        LeukoscopeError: it cannot be opened, or SQLAlchemy is missing.
    """
    if is_database(target):
        return SqlSink(target)
    if "://" not in target and target.endswith((".csv", ".jsonl")):
        return FileSink(Path(target))
    raise InputError(
        f"cannot store to {shown(target)}: use sqlite:///FILE, postgresql://…, FILE.csv or FILE.jsonl"
    )
