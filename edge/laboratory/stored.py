"""Reviewed cells of a logger's database, with the pictures of the box's archive."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from edge.laboratory.cells import Reviewed, ReviewedCell, collect, in_words
from edge.logger import reviews
from edge.logger.pictures import archived
from edge.logger.queries import Results
from edge.logger.reviews import Review
from edge.model.classifier import is_sound
from edge.model.file import Manifest
from edge.model.installation.trial import newest_pictures
from edge.records import Record

POSITIVE, NEGATIVE = "ALL", "HEM"
"""The classes of C-NMC, in whose layout reviewed cells are exported."""

UNREVIEWED = 300
"""So many cells that nobody has reviewed are looked at for the strength of the stain."""

NEWEST = 2000
"""Of so many of the newest pictures of the archive, the same number of each specimen."""

_UNDECIDED = "cannot say"


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A reviewed cell.

    Attributes:
        record: its record.
        said: the newest review of each person that was not taken back, in the order of time; one or more.
        picture: in the archive, or None if it was not kept.
    """

    record: Record
    said: Sequence[Review]
    picture: Path | None

    def labels(self) -> list[str]:
        """What was said, each once, without "cannot say"."""
        return sorted({review.label for review in self.said} - {_UNDECIDED})

    def specimen(self) -> str:
        """What is held back together; cells without a specimen are those of their box and day."""
        return self.record.specimen or f"{self.record.device} {self.record.captured_at[:10]}"


def stored_cells(results: Results, folder: Path) -> Iterator[StoredCell]:
    """Every reviewed cell of a database, in the order of box and sequence.

    Args:
        results: the database.
        folder: of the box's archive.
    """
    by_cell: dict[str, list[Review]] = defaultdict(list)
    for review in reviews.of_each_person(reviews.all_of(results)):
        by_cell[review.cell].append(review)
    for record in results.records(reviewed=True):
        if record.id in by_cell:
            yield StoredCell(record, by_cell[record.id], archived(folder, record.image))


def reviewed_in(target: str, folder: Path, manifest: Manifest) -> Reviewed:
    """The cells of a database that a model can be fitted to.

    Args:
        target: its address.
        folder: of the box's archive.
        manifest: of the model, whose classes count.

    Raises:
        LeukoscopeError: the database cannot be read, or its reviews do not suffice.
    """
    positive, negative = manifest.positive_label(), manifest.negative_label()
    results = Results(target)
    try:
        found = list(stored_cells(results, folder))
        unreviewed = _recent(results, folder, {cell.record.id for cell in found})
    finally:
        results.close()
    cells, others, notes = [], Counter[str](), []
    twice = disagree = without_picture = 0
    for cell in found:
        labels = cell.labels()
        twice += len(cell.said) > 1
        disagree += len(labels) > 1
        if len(labels) != 1 or labels[0] not in (positive, negative):
            others.update(labels if len(labels) == 1 else [] if labels else [_UNDECIDED])
        elif cell.picture is None:
            without_picture += 1
        else:
            last = cell.said[-1]
            cells.append(
                ReviewedCell(cell.picture, labels[0] == positive, cell.specimen(), last.reviewer, last.at)
            )
    if without_picture:
        notes.append(
            f'{without_picture} reviewed cells have no picture in {folder}; [archive] keep = "all" keeps them'
        )
    if others:
        notes.append(f"not fitted to: {in_words(others)}")
    collected = collect(
        cells,
        results.name,
        (positive, negative),
        notes,
        others.total(),
        square=True,
        twice=twice,
        disagree=disagree,
    )
    return replace(collected, unreviewed=unreviewed)


def _recent(results: Results, folder: Path, reviewed: AbstractSet[str]) -> list[Path]:
    """Pictures of cells that were classified and that nobody reviewed, of as many specimens as there are: the strength of a
    stain is told by many patients, and by nobody's verdict."""
    files = {file.stem: file for file in newest_pictures(folder, NEWEST) if file.stem not in reviewed}
    by_specimen: dict[str, list[Path]] = defaultdict(list)
    for record in results.records_of(list(files)):
        if is_sound(record.reasons):
            by_specimen[record.specimen].append(files[record.id])
    turns = itertools.zip_longest(*by_specimen.values())
    every = (picture for turn in turns for picture in turn if picture is not None)
    return list(itertools.islice(every, UNREVIEWED))
