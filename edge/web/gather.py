"""A specimen put together from a results database, the picture archive and the model's card."""

from collections.abc import Iterator
from pathlib import Path

from edge.errors import InputError, LeukoscopeError
from edge.host.text import harmless
from edge.logger import reviews
from edge.logger.pictures import archived
from edge.logger.queries import Results
from edge.model.installed import find_model
from edge.records import ImageReference, Record
from edge.specimen.agreement import agreements
from edge.specimen.summary import ModelErrors, ReportCell, Review, Summary, errors_in, summarise

LARGEST_PICTURE_BYTES = 4 * 2**20


def summary_of(results: Results, specimen: str, pictures: Path | None, model: str) -> Summary:
    """Read one specimen from a database.

    Args:
        results: the database.
        specimen: its name; "" for cells without one.
        pictures: folder of the box's archive, or None.
        model: a model file, or the name of an installed one, whose card gives the errors if it is the one that
            made the records; "" for the default one.

    Raises:
        InputError: the database has no cell of this specimen.
    """
    found = list(results.records(specimen=specimen))
    if not found:
        known = ", ".join(harmless(total.key) or '""' for total in results.totals("specimen")[-5:])
        raise InputError(
            f"{results.name} has no cell of specimen {harmless(specimen)!r}; the last ones: {known}"
        )
    said = reviews.of_each_person(reviews.all_of(results, specimen))
    newest = {review.cell: review for review in said}
    return summarise(
        specimen,
        _cells(found, newest, pictures),
        reviews.checked(results),
        errors_of(found[-1], model),
        agreements((review.cell, review.reviewer, review.label) for review in said),
    )


def _cells(
    records: list[Record], said: dict[str, reviews.Review], pictures: Path | None
) -> Iterator[ReportCell]:
    for record in records:
        review = said.get(record.id)
        newest = None if review is None else Review(review.label, review.reviewer, review.at, review.comment)
        yield ReportCell(record, newest, _picture(pictures, record.image))


def errors_of(record: Record, model: str) -> ModelErrors | None:
    """Sensitivity and specificity by the card of the model file that made the record, or None.

    Args:
        record: a result.
        model: as for `summary_of`; another one than the record's says nothing.
    """
    from edge.model.file import read_model  # its libraries take 30 MB, which a page need not have

    try:
        file = read_model(find_model(model))
    except LeukoscopeError:
        if model:
            raise
        return None
    if file.sha256 != record.model.sha256:
        return None
    return errors_in(file.manifest.calibration, file.manifest.adaptation)


def _picture(folder: Path | None, image: ImageReference | None) -> bytes | None:
    """The archived picture; None if it is not there. A record's own text never leads out of the folder."""
    file = None if folder is None else archived(folder, image, LARGEST_PICTURE_BYTES)
    try:
        return None if file is None else file.read_bytes()
    except OSError:
        return None
