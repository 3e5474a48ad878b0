"""Reviews in a logger's database: a cell's newest one counts; rows are only added."""

from collections.abc import Iterable
from typing import Any

import msgspec

from edge.errors import LeukoscopeError
from edge.logger.addresses import words_of
from edge.logger.queries import Results

LABELS = ("ALL", "HEM", "other", "not a cell", "cannot say")
"""What a person may say of a cell."""


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table `reviews`.

    Attributes:
        cell: the record's id.
        label: one of LABELS.
        reviewer: who.
        at: when, RFC 3339.
        comment: or "".
    """

    cell: str
    label: str
    reviewer: str
    at: str
    comment: str = ""


def of_specimen(results: Results, specimen: str) -> dict[str, Review]:
    """The newest review of each cell of a specimen, by the record's id."""
    sql, tables = results.sql, results.tables
    if not results.has("reviews"):
        return {}
    reviews, cells = tables.reviews, tables.cells
    query = (
        sql.select(reviews)
        .join(cells, cells.c.id == reviews.c.cell)
        .where(cells.c.specimen == specimen)
        .order_by(reviews.c.at)
    )
    return {row.cell: _review(row) for row in results.run(query)}


def checked(results: Results) -> dict[str, int]:
    """The sha256 of each model file to the number of its cells whose newest review is ALL or HEM."""
    sql, tables = results.sql, results.tables
    if not results.has("reviews"):
        return {}
    reviews, cells = tables.reviews, tables.cells
    query = (
        sql.select(reviews.c.cell, reviews.c.label, cells.c.model)
        .join(cells, cells.c.id == reviews.c.cell)
        .order_by(reviews.c.at)
    )
    newest = {row.cell: (row.label, row.model) for row in results.run(query)}
    return _by_model(newest.values())


def add(results: Results, review: Review) -> None:
    """Store one review.

    Raises:
        LeukoscopeError: it cannot be stored.
    """
    import sqlalchemy

    try:
        with results.engine.begin() as connection:
            connection.execute(results.tables.reviews.insert(), msgspec.structs.asdict(review))
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise LeukoscopeError(f"cannot store a review in {results.name}: {words_of(error)}") from None


def _review(row: Any) -> Review:
    return Review(cell=row.cell, label=row.label, reviewer=row.reviewer, at=row.at, comment=row.comment or "")


def _by_model(newest: Iterable[tuple[str, str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for label, model in newest:
        if label in ("ALL", "HEM"):
            sha256 = str(msgspec.json.decode(model)["sha256"])
            counts[sha256] = counts.get(sha256, 0) + 1
    return counts
