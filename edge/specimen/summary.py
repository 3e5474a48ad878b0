"""A specimen as its report shows it: counts, how sure they are, cells with their reviews, and what made them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edge.records import Record
from edge.specimen.agreement import Agreement
from edge.specimen.counting import (
    REFER,
    Classes,
    Estimate,
    classes_of,
    column,
    columns,
    count,
    estimate,
    positive_probability,
)
from edge.specimen.errors import ModelErrors

CHECKED_FROM = 20
"""Cells of one model file that a person of this laboratory has called by one of its classes; from here on the model counts as
checked here. With 20, agreement of 95 % still has limits of 75 to 100 %: it is a first look, no validation."""

SIMULATOR = "simulator"


class Review(NamedTuple):
    """What a person said of a cell.

    Attributes:
        label: a class of the model (ALL, HEM), other, "not a cell" or "cannot say".
        reviewer: who.
        at: when, RFC 3339.
        comment: or "".
    """

    label: str
    reviewer: str
    at: str
    comment: str


class ReportCell(NamedTuple):
    """A cell of the report: its record, its newest review or None, its PNG picture or None."""

    record: Record
    review: Review | None
    picture: bytes | None


@dataclass(frozen=True)
class Summary:
    """A specimen.

    Attributes:
        specimen: its name.
        counts: by column, see `counting.columns`.
        classes: of the models, each once.
        found: the positive class (blasts) per 100 white cells.
        cells: referred cells first, then by falling probability of the positive class.
        reviewed: newest reviews by label.
        agreement: of the cells to which both the model and a person gave a class: how many alike, how many.
        checked_here: whether each model was adapted to this laboratory, or enough of its cells were reviewed here.
        models: name and sha256 of each model file, with the number of its cells.
        devices, software, settings: what made the records.
        first, last: when the first and the last cell was captured, RFC 3339; "" if there is none.
        errors: of the model, as its card says; None if they are not known.
        simulated: whether drawn cells are among them.
        reviewers: how far every two people agree who reviewed the same cells.
        adaptations: of those of the models that were adapted to this laboratory, what their manifests tell, by sha256.
    """

    specimen: str
    counts: dict[str, int]
    classes: list[Classes]
    found: Estimate
    cells: Sequence[ReportCell]
    reviewed: dict[str, int]
    agreement: tuple[int, int]
    checked_here: bool
    models: dict[tuple[str, str], int]
    devices: list[str]
    software: list[str]
    settings: list[str]
    first: str
    last: str
    errors: ModelErrors | None = None
    simulated: bool = field(default=False)
    reviewers: Sequence[Agreement] = ()
    adaptations: dict[str, dict[str, Any]] = field(default_factory=dict)


def summarise(
    specimen: str,
    cells: Iterable[ReportCell],
    checked: dict[str, int],
    errors: ModelErrors | None = None,
    reviewers: Sequence[Agreement] = (),
    adaptations: Mapping[str, dict[str, Any]] | None = None,
) -> Summary:
    """Put a specimen together.

    Args:
        specimen: its name.
        cells: each record once.
        checked: sha256 of a model file to the number of its cells, of all specimens, to which a
            person of this laboratory gave a class.
        errors: of the model, if it is one and its card is known.
        reviewers: how far they agree.
        adaptations: sha256 of a model file that was adapted to this laboratory to what its manifest tells of it.
    """
    adapted = dict(adaptations or {})
    ordered = _ordered(list(cells))
    records = [cell.record for cell in ordered]
    classes = classes_of(records)
    counts = count(records, classes)
    models = Counter((record.model.name, record.model.sha256) for record in records)
    known = errors if len(models) == 1 else None
    sensitivity, specificity = known or (None, None)
    judged = [(cell.record.verdict, cell.review.label) for cell in ordered if cell.review is not None]
    both = [
        verdict == label
        for verdict, label in judged
        if {verdict, label} <= {name for pair in classes for name in pair}
    ]
    moments = sorted(record.captured_at for record in records)
    return Summary(
        specimen=specimen,
        counts=counts,
        classes=classes,
        found=estimate(counts, sensitivity, specificity, classes),
        cells=ordered,
        reviewed=dict(Counter(label for _, label in judged)),
        agreement=(sum(both), len(both)),
        checked_here=bool(models)
        and all(sha256 in adapted or checked.get(sha256, 0) >= CHECKED_FROM for _, sha256 in models),
        models=dict(models),
        devices=sorted({record.device for record in records}),
        software=sorted({record.software for record in records}),
        settings=sorted({record.settings_sha256 for record in records}),
        first=moments[0] if moments else "",
        last=moments[-1] if moments else "",
        errors=known,
        simulated=any(record.source.startswith(SIMULATOR) for record in records),
        reviewers=reviewers,
        adaptations=adapted,
    )


def _ordered(cells: list[ReportCell]) -> list[ReportCell]:
    """Referred cells first, then the positive class, the negative one, other; within each by falling probability of
    the positive class."""
    names = columns(classes_of(cell.record for cell in cells))
    rank = {name: place for place, name in enumerate(names)} | {REFER: -1}
    return sorted(
        cells,
        key=lambda cell: (
            rank.get(column(cell.record), len(rank)),
            -positive_probability(cell.record.probabilities),
            cell.record.id,
        ),
    )
