"""What one record counts as, and what the counts of a specimen add up to."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edge.records import Record
from edge.specimen.intervals import clopper_pearson, rogan_gladen

ALL, HEM, REFER, OTHER = "ALL", "HEM", "refer", "other"
COUNTED = (ALL, HEM, REFER, OTHER)
"""The columns of a count, in the order of every table. ALL is a blast, HEM a healthy lymphoid cell, other a cell
that is not lymphoid; what a person has to look at is refer."""


class Estimate(NamedTuple):
    """Blasts per 100 white cells.

    Attributes:
        white_cells: the denominator: ALL, HEM and other; referred cells are not in it.
        percent: ALL of it, or None if there is none yet.
        interval_percent: 95 % limits of it (Clopper-Pearson), or None.
        adjusted_percent: corrected for the model's sensitivity and specificity (Rogan-Gladen), or None if those
            are not known.
    """

    white_cells: int
    percent: float | None
    interval_percent: tuple[float, float] | None
    adjusted_percent: float | None


def column(record: Record) -> str:
    """The column of `COUNTED` in which a record counts."""
    if record.kind == "other":
        return OTHER
    return record.verdict


def count(records: Iterable[Record]) -> dict[str, int]:
    """The counts of records, each taken once by its id; every column is there.

    This is how a tally is made again from a database.
    """
    counts = dict.fromkeys(COUNTED, 0)
    seen: set[str] = set()
    for record in records:
        if record.id not in seen:
            seen.add(record.id)
            counts[column(record)] += 1
    return counts


def estimate(
    counts: Mapping[str, int], sensitivity: float | None = None, specificity: float | None = None
) -> Estimate:
    """Blasts per 100 white cells, with how sure that is.

    Args:
        counts: of each column of `COUNTED`.
        sensitivity, specificity: of the model on patients that it was not trained on, 0 to 1; None if unknown.
    """
    blasts, lymphoid = counts[ALL], counts[ALL] + counts[HEM]
    white_cells = lymphoid + counts[OTHER]
    if not white_cells:
        return Estimate(0, None, None, None)
    low, high = clopper_pearson(blasts, white_cells)
    adjusted = None
    if lymphoid and sensitivity is not None and specificity is not None:
        share = rogan_gladen(blasts / lymphoid, sensitivity, specificity)
        adjusted = None if share is None else 100 * share * lymphoid / white_cells
    return Estimate(white_cells, 100 * blasts / white_cells, (100 * low, 100 * high), adjusted)
