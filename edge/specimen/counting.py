"""What one record counts as, and what the counts of a specimen add up to."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edge.host.text import harmless
from edge.records import Record
from edge.specimen.intervals import clopper_pearson, rogan_gladen

REFER, OTHER = "refer", "other"
"""Columns of every count: cells that a person has to look at, and cells that are not lymphoid."""


class Classes(NamedTuple):
    """The names of a model's two classes; those of the model that ships are the defaults.

    Attributes:
        positive: the class that must not be missed: ALL is a blast.
        negative: the other one: HEM is a healthy lymphoid cell.
    """

    positive: str = "ALL"
    negative: str = "HEM"


SHIPPED = Classes()
_HEAD_LENGTH = 24


class Estimate(NamedTuple):
    """Cells of the positive class (blasts) per 100 white cells.

    Attributes:
        positive: cells of the positive class.
        white_cells: the denominator: both classes and other; referred cells are not in it.
        percent: the positive class of it, or None if there is none yet.
        interval_percent: 95 % limits of it (Clopper-Pearson), or None.
        adjusted_percent: corrected for the model's sensitivity and specificity (Rogan-Gladen), or None if those
            are not known.
    """

    positive: int
    white_cells: int
    percent: float | None
    interval_percent: tuple[float, float] | None
    adjusted_percent: float | None


def column(record: Record) -> str:
    """What a record counts as: OTHER, REFER, or the name of its class."""
    if record.kind == OTHER:
        return OTHER
    return record.verdict


def classes_in(probabilities: Iterable[str]) -> Classes | None:
    """The classes of a record, from the names in its probabilities: the positive class stands first.

    None if there are not two, as in a record that was referred before the network was asked.
    """
    names = list(probabilities)
    if set(names) == set(SHIPPED):  # records of older versions have them in either order
        return SHIPPED
    return Classes(*names) if len(names) == 2 else None


def positive_probability(probabilities: Mapping[str, float]) -> float:
    """The probability of the positive class; 0 if the record has none."""
    pair = classes_in(probabilities)
    return probabilities[pair.positive] if pair else 0.0


def classes_of(records: Iterable[Record]) -> list[Classes]:
    """The classes of the models that made these records, each once; those of the model that ships if none tells."""
    found = dict.fromkeys(filter(None, (classes_in(record.probabilities) for record in records)))
    return list(found) or [SHIPPED]


def columns(classes: Iterable[Classes] = (SHIPPED,)) -> list[str]:
    """The columns of a count in the order of every table: positive classes, negative ones, REFER, OTHER."""
    pairs = list(classes)
    names = [*(pair.positive for pair in pairs), *(pair.negative for pair in pairs), REFER, OTHER]
    return list(dict.fromkeys(names))


def positive_name(classes: Iterable[Classes]) -> str:
    """The name of the positive class, for the head of a column; of several models, all of them."""
    return " or ".join(dict.fromkeys(harmless(pair.positive, _HEAD_LENGTH) for pair in classes))


def count(records: Iterable[Record], classes: Iterable[Classes] = (SHIPPED,)) -> dict[str, int]:
    """The counts of records, each taken once by its id; every column of `classes` is there.

    This is how a tally is made again from a database.
    """
    counts = dict.fromkeys(columns(classes), 0)
    seen: set[str] = set()
    for record in records:
        if record.id not in seen:
            seen.add(record.id)
            name = column(record)
            counts[name] = counts.get(name, 0) + 1
    return counts


def estimate(
    counts: Mapping[str, int],
    sensitivity: float | None = None,
    specificity: float | None = None,
    classes: Iterable[Classes] = (SHIPPED,),
) -> Estimate:
    """Cells of the positive class per 100 white cells, with how sure that is.

    Args:
        counts: by column.
        sensitivity, specificity: of the model on patients that it was not trained on, 0 to 1; None if unknown.
        classes: of the models that were counted with.
    """
    pairs = list(classes)
    blasts = sum(counts.get(name, 0) for name in {pair.positive for pair in pairs})
    lymphoid = sum(counts.get(name, 0) for name in {name for pair in pairs for name in pair})
    white_cells = sum(number for name, number in counts.items() if name != REFER)
    if not white_cells:
        return Estimate(0, 0, None, None, None)
    low, high = clopper_pearson(blasts, white_cells)
    adjusted = None
    if lymphoid and sensitivity is not None and specificity is not None:
        share = rogan_gladen(blasts / lymphoid, sensitivity, specificity)
        adjusted = None if share is None else 100 * share * lymphoid / white_cells
    return Estimate(blasts, white_cells, 100 * blasts / white_cells, (100 * low, 100 * high), adjusted)
