"""Reviews in a logger's database: a cell's newest one counts; rows are only added."""

from collections.abc import Iterable
from typing import Any

import msgspec

from edge.errors import LeukoscopeError
from edge.logger.addresses import words_of
from edge.logger.queries import Results
from edge.specimen.counting import SHIPPED, Classes

OTHER_LABELS = ("other", "not a cell", "cannot say")
"""What a person may say of a cell besides the classes of its model."""

UNDONE = "undone"
"""Takes the review before it back: of that person, the cell counts as not reviewed."""


def labels(classes: Iterable[Classes] = (SHIPPED,)) -> list[str]:
    """What a person may say of a cell that a model with these classes judged."""
    pairs = list(classes)
    names = [*(pair.positive for pair in pairs), *(pair.negative for pair in pairs), *OTHER_LABELS]
    return list(dict.fromkeys(names))


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table `reviews`.

    Attributes:
        cell: the record's id.
        label: one of `labels`, or UNDONE.
        reviewer: who.
        at: when, RFC 3339.
        comment: or "".
    """

    cell: str
    label: str
    reviewer: str
    at: str
    comment: str = ""


def newest(said: Iterable[Review]) -> dict[str, Review]:
    """The newest review of each cell that was not taken back, by the record's id.

    Args:
        said: in the order of time.
    """
    return {review.cell: review for review in of_each_person(said)}


def of_each_person(said: Iterable[Review]) -> list[Review]:
    """The newest review of each cell by each person that was not taken back, in the order of time."""
    by_person: dict[tuple[str, str], Review] = {}
    for review in said:
        by_person.pop((review.cell, review.reviewer), None)
        if review.label != UNDONE:
            by_person[review.cell, review.reviewer] = review
    return list(by_person.values())


def all_of(results: Results, specimen: str | None = None) -> list[Review]:
    """Every review of the cells of a specimen, or of all cells, in the order of time."""
    sql, tables = results.sql, results.tables
    if not results.has("reviews"):
        return []
    reviews, cells = tables.reviews, tables.cells
    query = sql.select(reviews).join(cells, cells.c.id == reviews.c.cell).order_by(reviews.c.at)
    if specimen is not None:
        query = query.where(cells.c.specimen == specimen)
    return [review_of(row) for row in results.run(query)]


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


def review_of(row: Any) -> Review:
    """A row of the table `reviews`."""
    return Review(cell=row.cell, label=row.label, reviewer=row.reviewer, at=row.at, comment=row.comment or "")
