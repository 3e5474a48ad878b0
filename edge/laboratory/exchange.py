"""Reviewed cells as a folder in the layout of C-NMC, and verdicts from such a folder back into a database.

    DIR/training_data/fold_0/all/UID_<specimen>_<n>_1_all.png    called ALL by all who reviewed them
    DIR/training_data/fold_0/hem/UID_<specimen>_<n>_1_hem.png    called HEM
    DIR/other/<record id>.png                                    called something else, or not the same by all
    DIR/reviews.csv                                              every review, with its cell and the picture's name

Pictures are copied byte by byte, so that a picture's hash tells its cell, wherever somebody has moved it to.
"""

import csv
import hashlib
import io
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import InputError, LeukoscopeError
from edge.host import typedfile
from edge.host.durable import replace_file
from edge.host.text import harmless, spreadsheet_cell
from edge.laboratory.stored import NEGATIVE, POSITIVE, StoredCell, stored_cells
from edge.logger import reviews
from edge.logger.queries import Results
from edge.logger.reviews import UNDONE, Review
from edge.records import rfc3339

TABLE = "reviews.csv"
CLASSES = Path("training_data/fold_0")
OTHERS = Path("other")
COLUMNS = (
    "picture",
    "cell",
    "label",
    "reviewer",
    "at",
    "comment",
    "specimen",
    "device",
    "captured_at",
    "verdict",
    "p_all",
    "model",
    "model_sha256",
    "picture_sha256",
)
"""One row a review."""

_FIRST_SUBJECT = 10**9
"""Numbers of specimens begin here: none is a patient of C-NMC, of which some are the same under two numbers."""

_LARGEST_TABLE_BYTES = 64 * 2**20
_NAME_LIMIT, _COMMENT_LIMIT, _LABEL_LIMIT = 200, 1000, 100


@dataclass
class Exported:
    """What an export wrote: pictures by label, reviews, and cells whose picture was not kept."""

    pictures: Counter[str] = field(default_factory=Counter)
    reviews: int = 0
    without_picture: int = 0


@dataclass
class Imported:
    """What an import stored: new reviews by label; those that were there; pictures and rows of no cell here."""

    added: Counter[str] = field(default_factory=Counter)
    known: int = 0
    strange: int = 0


def export(target: str, archive: Path, folder: Path) -> Exported:
    """Write every reviewed cell of a database into a new folder.

    Args:
        target: address of the database.
        archive: folder of the box's pictures.
        folder: to write; it must not exist, or be empty.

    Raises:
        InputError: the folder holds something.
        LeukoscopeError: the database cannot be read or the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds something already; give a new folder")
    results = Results(target)
    done, rows, seen = Exported(), [], Counter[int]()
    try:
        for cell in stored_cells(results, archive):
            name = _name(cell, seen)
            if cell.picture is None:
                done.without_picture += 1
            else:
                _copy(cell.picture, folder / name)
                done.pictures[_class_of(cell) or "other"] += 1
            rows += [_row(cell, review, name if cell.picture else Path()) for review in cell.said]
    finally:
        results.close()
    if not rows:
        raise LeukoscopeError(f"{results.name}: no cell has been reviewed; review some on the page")
    done.reviews = len(rows)
    replace_file(folder / TABLE, _csv(rows))
    return done


def subject(specimen: str) -> int:
    """The number of a specimen: the same for the same name on every box, and of no patient of C-NMC."""
    digest = hashlib.sha256(specimen.encode("utf-8", "replace")).digest()
    return _FIRST_SUBJECT + int.from_bytes(digest[:4], "big")


def _class_of(cell: StoredCell) -> str:
    labels = cell.labels()
    return labels[0] if len(labels) == 1 and labels[0] in (POSITIVE, NEGATIVE) else ""


def _name(cell: StoredCell, seen: Counter[int]) -> Path:
    label = _class_of(cell).lower()
    if not label:
        return OTHERS / f"{cell.record.id}.png"
    number = subject(cell.specimen())
    seen[number] += 1
    return CLASSES / label / f"UID_{number}_{seen[number]}_1_{label}.png"


def _copy(picture: Path, to: Path) -> None:
    try:
        data = picture.read_bytes()
    except OSError as error:
        raise LeukoscopeError(f"{picture}: {error.strerror}") from error
    replace_file(to, data)


def _row(cell: StoredCell, review: Review, name: Path) -> dict[str, object]:
    record = cell.record
    return {
        "picture": name.as_posix() if name.name else "",
        "cell": record.id,
        "label": review.label,
        "reviewer": review.reviewer,
        "at": review.at,
        "comment": review.comment,
        "specimen": record.specimen,
        "device": record.device,
        "captured_at": record.captured_at,
        "verdict": record.verdict,
        "p_all": record.probabilities.get(POSITIVE, ""),
        "model": record.model.name,
        "model_sha256": record.model.sha256,
        "picture_sha256": record.image.sha256 if record.image else "",
    }


def _csv(rows: Iterable[Mapping[str, object]]) -> bytes:
    """Text of strangers is cut to one harmless line, and no spreadsheet takes it for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = (row[name] for name in COLUMNS)
        writer.writerow(
            [spreadsheet_cell(harmless(v, _COMMENT_LIMIT) if isinstance(v, str) else v) for v in values]
        )
    return text.getvalue().encode("utf-8-sig")


def bring_in(
    target: str, folder: Path, pictures: Sequence[tuple[Path, str]], reviewer: str, now_ns: int | None = None
) -> Imported:
    """Store the verdicts of a folder in a database, for the cells that it has.

    A picture that lies below another class than its reviews said was moved by `reviewer`, who thereby says so now.

    Args:
        target: address of the database.
        folder: as `export` wrote it, or any with pictures of this box's archive in folders all and hem.
        pictures: of the folder, each with the label of its place.
        reviewer: who sorted those that no row of `reviews.csv` tells of; "" if nobody did.
        now_ns: the moment of that; None for now.

    Raises:
        InputError: the table cannot be read, or pictures were sorted and no reviewer is named.
        LeukoscopeError: the database cannot be read or written.
    """
    rows = _table(folder / TABLE)
    results, done = Results(target), Imported()
    try:
        before = reviews.all_of(results)
        known = {(one.cell, harmless(one.reviewer, _NAME_LIMIT), one.label, one.at) for one in before}
        cells = {record.id: record.image.sha256 if record.image else "" for record in results.records()}
        new = []
        for row in rows:
            if row.cell not in cells:
                done.strange += 1
            elif (row.cell, row.reviewer, row.label, row.at) in known:
                done.known += 1
            else:
                new.append(row)
        new += _sorted(
            pictures,
            {sha256: cell for cell, sha256 in cells.items() if sha256},
            [*before, *new],
            done,
            reviewer,
            now_ns,
        )
        for review in sorted(new, key=lambda one: one.at):
            reviews.add(results, review)
            done.added[review.label] += 1
    finally:
        results.close()
    return done


def _sorted(
    pictures: Sequence[tuple[Path, str]],
    cell_of: Mapping[str, str],
    said: Sequence[Review],
    done: Imported,
    reviewer: str,
    now_ns: int | None,
) -> list[Review]:
    """What the place of a picture says, where nobody has said it of the cell before."""
    labels: dict[str, set[str]] = {}
    for review in reviews.of_each_person(sorted(said, key=lambda one: one.at)):
        labels.setdefault(review.cell, set()).add(review.label)
    at, found = rfc3339(time.time_ns() if now_ns is None else now_ns), []
    for picture, label in pictures:
        cell = cell_of.get(hashlib.sha256(picture.read_bytes()).hexdigest())
        if cell is None:
            done.strange += 1
        elif label in labels.get(cell, set()):
            done.known += 1
        else:
            found.append(
                Review(cell=cell, label=label, reviewer=reviewer, at=at, comment="sorted into a folder")
            )
    if found and not reviewer:
        raise InputError(
            f"{len(found)} pictures lie below a class that nobody has said of them; name who sorted them with --reviewer"
        )
    return found


def _table(file: Path) -> list[Review]:
    """The reviews of a table; none where there is no table."""
    if not file.exists():
        return []
    text = typedfile.read_text(
        file, name=str(file), remedy="leukoscope review export writes it", limit_bytes=_LARGEST_TABLE_BYTES
    )
    found = []
    try:
        for number, row in enumerate(csv.DictReader(io.StringIO(text), restval="", strict=True), 2):
            found.append(_review(row, f"{file}, line {number}"))
    except csv.Error as error:
        raise InputError(f"{file}: not a table: {error}") from error
    return found


def _review(row: Mapping[str, str], where: str) -> Review:
    given = {name: _unescaped(row.get(name) or "") for name in ("cell", "label", "reviewer", "at", "comment")}
    label = given["label"]
    if not label or label == UNDONE or label != harmless(label, _LABEL_LIMIT):
        raise InputError(
            f"{where}: the label {harmless(label, 40)!r} is none; such as {POSITIVE}, {NEGATIVE} or other"
        )
    try:
        time.strptime(given["at"][:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        raise InputError(
            f"{where}: at is {harmless(given['at'], 40)!r}, no moment such as 2026-11-28T10:00:00Z"
        ) from None
    if not given["cell"] or not given["reviewer"].strip():
        raise InputError(f"{where}: the cell or the reviewer is missing")
    return Review(
        cell=harmless(given["cell"], _NAME_LIMIT),
        label=given["label"],
        reviewer=harmless(given["reviewer"], _NAME_LIMIT),
        at=harmless(given["at"], 40),
        comment=harmless(given["comment"], _COMMENT_LIMIT),
    )


def _unescaped(text: str) -> str:
    """Without the ' that `spreadsheet_cell` puts before a formula."""
    return text[1:] if text.startswith("'") and spreadsheet_cell(text[1:]) != text[1:] else text
