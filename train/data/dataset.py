"""C-NMC 2019 on disk: which images there are, their labels and their subjects. Reads no pixels."""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.errors import InputError
from edge.imaging.files import SUFFIXES

Label = Literal["ALL", "HEM"]
LABELS: tuple[Label, Label] = ("ALL", "HEM")


# Byte-identical images stand under these different subjects in C-NMC 2019, so they are one patient
# as far as a split is concerned.
TWIN_SUBJECTS = (
    frozenset({"20", "21"}),
    frozenset({"51", "75", "78"}),
    frozenset({"H2", "H4", "H5", "H6"}),
    frozenset({"H3", "H10"}),
)

_NAME = re.compile(r"^UID_(?P<subject>H?\d+)_(?P<image>\d+)_(?P<cell>\d+)_(?P<label>all|hem)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One image of one cell.

    Attributes:
        path: of the image, relative to the data set's root, with forward slashes.
        label: "ALL" (leukemic blast, the positive class) or "HEM" (healthy precursor).
        subject: the patient in upper case: "51", "H10".
        part: "fold_0", "fold_1", "fold_2" or "prelim".
    """

    path: str
    label: Label
    subject: str
    part: str


def parse_name(name: str) -> tuple[str, Label]:
    """Subject and label from an official name such as UID_H10_1_1_hem.bmp, in any case.

    Raises:
        InputError: the name does not follow the official pattern.
    """
    match = _NAME.match(Path(name).stem)
    if match is None:
        raise InputError(f"{name}: not a C-NMC name; expected UID_<subject>_<image>_<cell>_<all|hem>.bmp")
    label: Label = "ALL" if match["label"].lower() == "all" else "HEM"
    return match["subject"].upper(), label


def subject_group(subject: str) -> str:
    """The patient that a subject stands for: twins share the name of their group, "H2+H4+H5+H6"."""
    for twins in TWIN_SUBJECTS:
        if subject in twins:
            return "+".join(sorted(twins, key=lambda name: (len(name), name)))
    return subject


def scan(root: Path) -> list[Cell]:
    """Every image of a data set in the official layout, in the order of its path.

    Args:
        root: the folder that holds `training_data/fold_N/{all,hem}` and, optionally, `prelim` with
            `labels.csv`. `C-NMC_Leukemia` above it is found too.

    Raises:
        InputError: there is no such layout, a name does not parse, or a name and its folder disagree.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the one that holds training_data/")
    root = data_root(root)
    cells = [cell for fold in sorted(root.glob("training_data/fold_*")) for cell in _scan_fold(root, fold)]
    cells += _scan_prelim(root)
    if not cells:
        raise InputError(f"{root}: no images under training_data/fold_N/all and …/hem; see docs/training.md")
    return sorted(cells)


def _images(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)


def _scan_fold(root: Path, fold: Path) -> Iterable[Cell]:
    for folder in sorted(fold.iterdir()):
        if folder.is_dir():
            yield from (fold_cell(root, path) for path in _images(folder))


def fold_cell(root: Path, path: Path) -> Cell:
    """The cell of one image at `training_data/<fold>/<class>/<name>` under the root.

    Raises:
        InputError: the name does not parse, or it contradicts its folder.
    """
    subject, label = parse_name(path.name)
    if path.parent.name.upper() != label:
        raise InputError(f"{path}: its name says {label}, its folder {path.parent.name}; move or rename it")
    return Cell(path.relative_to(root).as_posix(), label, subject, path.parent.parent.name)


def _scan_prelim(root: Path) -> Iterable[Cell]:
    """The preliminary test set: numbered images, named by a table of Patient_ID, new_names, labels."""
    folder = root / "prelim"
    if not folder.is_dir():
        return
    table = folder / "labels.csv"
    rows = read_labels(table)
    yield from (prelim_cell(root, path, table, rows) for path in _images(folder))


def read_labels(table: Path) -> dict[str, dict[str, str]]:
    """The rows of the preliminary test's table by the stem of their image.

    Raises:
        InputError: the table is missing or is not one of Patient_ID, new_names, labels.
    """
    columns = ("Patient_ID", "new_names", "labels")
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines, restval=""))
    except OSError as error:
        raise InputError(f"{table}: missing; the images of prelim have no labels without it") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not a table: {error}") from error
    if rows and not set(columns) <= set(rows[0]):
        raise InputError(f"{table}: its columns are {', '.join(rows[0])}; expected {', '.join(columns)}")
    return {Path(row["new_names"]).stem: row for row in rows}


def prelim_cell(root: Path, path: Path, table: Path, rows: Mapping[str, Mapping[str, str]]) -> Cell:
    """The cell of one numbered image.

    Args:
        root, path: the data set and the image.
        table: the file of the rows, to be named in errors.
        rows: from `read_labels`.

    Raises:
        InputError: the table does not have it, or its name there contradicts its label.
    """
    row = rows.get(path.stem)
    if row is None:
        raise InputError(f"{path}: not in {table}; add its row or take the image away")
    subject, label = parse_name(row["Patient_ID"])
    if row["labels"].strip() != ("1" if label == "ALL" else "0"):
        raise InputError(f"{table}: {row['new_names']} is {label} by name but labelled {row['labels']}")
    return Cell(path.relative_to(root).as_posix(), label, subject, "prelim")


def data_root(root: Path) -> Path:
    """The folder that the paths of `scan` are relative to."""
    nested = root / "C-NMC_Leukemia"
    return nested if not (root / "training_data").is_dir() and nested.is_dir() else root
