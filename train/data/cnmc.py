"""C-NMC 2019 in each layout that it is published in: its folders, its names, its patients. Reads no pixels."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import InputError
from train.data.cells import Cell, Label

# Byte-identical images are published under these different subjects, so a split must take them as one patient.
TWIN_SUBJECTS = (
    frozenset({"20", "21"}),
    frozenset({"51", "75", "78"}),
    frozenset({"H2", "H4", "H5", "H6"}),
    frozenset({"H3", "H10"}),
)

SHORT, ARCHIVE, KAGGLE = "C-NMC 2019, short folder names", "C-NMC 2019, TCIA archive", "C-NMC 2019, Kaggle"

_NAME = re.compile(r"^UID_(?P<subject>H?\d+)_(?P<image>\d+)_(?P<cell>\d+)_(?P<label>all|hem)$", re.IGNORECASE)
_FOLD = re.compile(r"fold_[^/]+", re.IGNORECASE)
_COLUMNS = ("Patient_ID", "new_names", "labels")

# In lower case: the names that a part's folder has in the short layout, the archive and on Kaggle.
_TRAINING = ("training_data", "c-nmc_training_data")
_PRELIM = ("prelim", "c-nmc_test_prelim_phase_data", "validation_data")
_FINAL = ("final", "c-nmc_test_final_phase_data", "testing_data")

Rows = Mapping[str, Mapping[str, str]]
"""The table of the preliminary test: its rows by the stem of their image."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of C-NMC are on this disk; None for a part that is not there.

    Attributes:
        root: the paths of the cells are relative to it.
        name: SHORT, ARCHIVE or KAGGLE.
        training: holds `fold_N/{all,hem}`.
        prelim, labels: the numbered images of the preliminary test, and the table that names them.
        final: the images of the final test, which have no labels.
        left_out: folders beside the root that are not read.
    """

    root: Path
    name: str
    training: Path | None
    prelim: Path | None
    labels: Path | None
    final: Path | None
    left_out: list[str] = field(default_factory=list)

    def folders(self) -> list[Path]:
        """The folders that hold images."""
        return [folder for folder in (self.training, self.prelim, self.final) if folder is not None]

    def part_of(self, path: Path) -> str | None:
        """ "fold_0", "fold_1", "fold_2", "prelim" or "final"; None if no part's images belong there."""
        if self.prelim is not None and path.is_relative_to(self.prelim):
            return "prelim"
        if self.final is not None and path.is_relative_to(self.final):
            return "final"
        folds = [name for name in path.relative_to(self.root).parts[:-2] if _FOLD.fullmatch(name)]
        return folds[-1].lower() if folds and path.parent.name.lower() in ("all", "hem") else None

    def cell(self, path: Path, rows: Rows | None = None) -> Cell:
        """The cell of one labelled image.

        Args:
            path: an image of a fold or of the preliminary test.
            rows: for the preliminary test, from `read_labels`.

        Raises:
            InputError: it belongs to no part, its name does not parse, or name and folder or table disagree.
        """
        part, relative = self.part_of(path), path.relative_to(self.root).as_posix()
        if part is None:
            top = self.training.name if self.training else "training_data"
            raise InputError(f"{path}: no part is there; expected {top}/fold_N/all or …/hem")
        if part == "prelim":
            assert self.labels is not None
            subject, label = _named_by(path, self.labels, rows or {})
            return Cell(relative, label, subject, part)
        subject, label = parse_name(path.name)
        if path.parent.name.upper() != label:
            raise InputError(
                f"{path}: its name says {label}, its folder {path.parent.name}; move or rename it"
            )
        return Cell(relative, label, subject, part)


def recognise(directory: Path) -> Layout | None:
    """The layout of a folder that is C-NMC, or that holds one folder which is; None for other data.

    Raises:
        InputError: the folder holds several copies.
    """
    own = _layout(directory)
    if own is not None:
        return own
    folders = sorted(path for path in directory.iterdir() if path.is_dir())
    found = [layout for layout in map(_layout, folders) if layout is not None]
    if len(found) > 1:
        names = ", ".join(layout.root.name for layout in found)
        raise InputError(f"{directory}: holds several copies of C-NMC ({names}); give one of them")
    if not found:
        return None
    found[0].left_out.extend(path.name for path in folders if path != found[0].root)
    return found[0]


def _layout(root: Path) -> Layout | None:
    children = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}

    def first(names: tuple[str, ...]) -> Path | None:
        return next((children[name] for name in names if name in children), None)

    training, prelim, final = first(_TRAINING), first(_PRELIM), first(_FINAL)
    if training is not None and not any(_FOLD.fullmatch(path.name) for path in training.iterdir()):
        training = None  # somebody's own "training_data"
    labels = _labels_of(prelim, root) if prelim else None
    named = not {_TRAINING[1], _PRELIM[1], _FINAL[1]}.isdisjoint(children)
    holds = any(
        path.name.lower().startswith("c-nmc_test") for top in (prelim, final) if top for path in top.iterdir()
    )
    if training is None and not named and not holds and not (labels and labels.is_file()):
        return None
    kaggle = (
        root.name.lower() == "c-nmc_leukemia" or "validation_data" in children or "testing_data" in children
    )
    name = ARCHIVE if named else KAGGLE if kaggle else SHORT
    return Layout(root, name, training, prelim, labels, final)


def _labels_of(prelim: Path, root: Path) -> Path:
    """The table of the preliminary test: in its folder, or beside it as in the archive."""
    tables = sorted(prelim.rglob("*labels.csv")) + sorted(root.glob("*prelim*labels.csv"))
    return next((table for table in tables if not table.name.startswith("._")), prelim / "labels.csv")


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


def is_official_name(name: str) -> bool:
    """Whether `parse_name` takes a file's name."""
    return _NAME.match(Path(name).stem) is not None


def subject_group(subject: str) -> str:
    """The patient that a subject stands for: twins share the name of their group, "H2+H4+H5+H6"."""
    for twins in TWIN_SUBJECTS:
        if subject in twins:
            return "+".join(sorted(twins, key=lambda name: (len(name), name)))
    return subject


def read_labels(table: Path) -> dict[str, dict[str, str]]:
    """The rows of the preliminary test's table by the stem of their image.

    Raises:
        InputError: the table is missing or is not one of Patient_ID, new_names, labels.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines, restval=""))
    except OSError as error:
        raise InputError(f"{table}: missing; the images of prelim have no labels without it") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not a table: {error}") from error
    if rows and not set(_COLUMNS) <= set(rows[0]):
        raise InputError(f"{table}: its columns are {', '.join(rows[0])}; expected {', '.join(_COLUMNS)}")
    return {Path(row["new_names"]).stem: row for row in rows}


def _named_by(path: Path, table: Path, rows: Rows) -> tuple[str, Label]:
    row = rows.get(path.stem)
    if row is None:
        raise InputError(f"{path}: not in {table}; add its row or remove the image")
    subject, label = parse_name(row["Patient_ID"])
    if row["labels"].strip() != ("1" if label == "ALL" else "0"):
        raise InputError(f"{table}: {row['new_names']} is {label} by name but labelled {row['labels']}")
    return subject, label
