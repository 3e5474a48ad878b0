"""The list of what was erased, in the results database: a backup that is restored does not bring it back.

Of a specimen only a hash of its name is kept, so that the list does not name patients.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from edge.logger.queries import Results


class Erased(NamedTuple):
    """What was erased.

    Attributes:
        specimens: sha256 of their names, in hexadecimal digits.
        before: everything that was captured before this moment (RFC 3339), or "".
    """

    specimens: frozenset[str]
    before: str

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of `cells` or `fields` was erased."""
        return hash_of(row["specimen"]) in self.specimens or str(row["captured_at"]) < self.before


def hash_of(specimen: str) -> str:
    """The sha256 of a specimen's name."""
    return hashlib.sha256(specimen.encode("utf-8", "surrogatepass")).hexdigest()


def table(metadata: Any) -> Any:
    """The table `erasures`."""
    from sqlalchemy import Column, Table, Text

    return Table(
        "erasures",
        metadata,
        Column("specimen_sha256", Text, nullable=False),  # "" for all of before
        Column("before", Text, nullable=False),  # RFC 3339, or ""
        Column("at", Text, nullable=False),
    )


def read(results: Results) -> Erased:
    """The list; empty if nothing was ever erased."""
    if not results.has("erasures"):
        return Erased(frozenset(), "")
    erasures = table(results.sql.MetaData())
    rows = list(results.run(results.sql.select(erasures)))
    specimens = frozenset(row.specimen_sha256 for row in rows if row.specimen_sha256)
    return Erased(specimens, max((row.before for row in rows), default=""))


def note(connection: Any, specimen: str | None, before: str, at: str) -> None:
    """Add to the list, within the transaction of the connection.

    Args:
        connection: of SQLAlchemy.
        specimen: its name, or None for everything before a moment.
        before: RFC 3339, or "".
        at: now, RFC 3339.
    """
    import sqlalchemy

    erasures = table(sqlalchemy.MetaData())
    erasures.create(connection, checkfirst=True)
    hashed = "" if specimen is None else hash_of(specimen)
    connection.execute(erasures.insert(), {"specimen_sha256": hashed, "before": before, "at": at})
