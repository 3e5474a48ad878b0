"""A specimen put together from a results database, the picture archive and the model's card."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import InputError, LeukoscopeError
from edge.host.text import harmless
from edge.logger import reviews
from edge.logger.checked import Checked
from edge.logger.pictures import archived
from edge.logger.queries import Results
from edge.model.installed import find_model
from edge.records import ImageReference, Record
from edge.specimen.agreement import agreements
from edge.specimen.errors import errors_in
from edge.specimen.page import SHOWN_CELLS
from edge.specimen.summary import ReportCell, Review, Summary, summarise

if TYPE_CHECKING:
    from edge.model.file import Manifest

LARGEST_PICTURE_BYTES = 4 * 2**20


def summary_of(
    results: Results,
    specimen: str,
    pictures: Path | None,
    model: str,
    directory: Path | None = None,
    checked: Checked | None = None,
) -> Summary:
    """Read one specimen from a database.

    Args:
        results: the database.
        specimen: its name; "" for cells without one.
        pictures: folder of the box's archive, or None.
        model: a model file, or the name of an installed one, whose card gives the errors if it is the one that
            made the records; "" for the default one.
        directory: of the box's installed models, or None: those that made the records are looked for there too.
        checked: of a process that asks again and again, so that it need not read every review each time; or None.

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
    cards = _cards({record.model.sha256 for record in found}, model, directory)
    last = cards.get(found[-1].model.sha256)
    summary = summarise(
        specimen,
        _cells(found, newest),
        (checked or Checked()).counts(results),
        None if last is None else errors_in(last.calibration, last.adaptation),
        agreements((review.cell, review.reviewer, review.label) for review in said),
        {sha256: card.adaptation for sha256, card in cards.items() if card.adaptation is not None},
    )
    return replace(summary, cells=_with_pictures(summary.cells, pictures))


def _with_pictures(cells: Sequence[ReportCell], folder: Path | None) -> list[ReportCell]:
    """The cells, with the pictures that the report shows: of a specimen with very many cells they would fill the memory."""
    found, shown = [], 0
    for cell in cells:
        picture = _picture(folder, cell.record.image) if shown < SHOWN_CELLS else None
        shown += picture is not None
        found.append(cell._replace(picture=picture))
    return found


def _cells(records: list[Record], said: dict[str, reviews.Review]) -> Iterator[ReportCell]:
    for record in records:
        review = said.get(record.id)
        newest = None if review is None else Review(review.label, review.reviewer, review.at, review.comment)
        yield ReportCell(record, newest, None)


def _cards(hashes: set[str], model: str, directory: Path | None) -> "dict[str, Manifest]":
    """The manifests of the model files that made records, as far as the files are here.

    Raises:
        LeukoscopeError: `model` is named and cannot be read.
    """
    from edge.model.file import read_model  # its libraries take 30 MB, which a page need not have
    from edge.model.installation.store import Store

    found = {}
    try:
        file = read_model(find_model(model))
        found[file.sha256] = file.manifest
    except LeukoscopeError:
        if model:
            raise
    store = Store(directory) if directory is not None else None
    for sha256 in hashes - found.keys():
        if store is not None and re.fullmatch("[0-9a-f]{64}", sha256) and store.has(sha256):
            found[sha256] = read_model(store.file(sha256)).manifest
    return {sha256: manifest for sha256, manifest in found.items() if sha256 in hashes}


def _picture(folder: Path | None, image: ImageReference | None) -> bytes | None:
    """The archived picture; None if it is not there. A record's own text never leads out of the folder."""
    file = None if folder is None else archived(folder, image, LARGEST_PICTURE_BYTES)
    try:
        return None if file is None else file.read_bytes()
    except OSError:
        return None
