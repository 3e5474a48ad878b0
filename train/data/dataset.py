"""A data set on disk: which images there are, their classes and their patients. Reads no pixels."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge.errors import InputError
from edge.imaging.files import find_images
from train.data.cells import LABELS as LABELS
from train.data.cells import OFFICIAL_CLASSES as OFFICIAL_CLASSES
from train.data.cells import Cell as Cell
from train.data.cells import Classes as Classes
from train.data.cells import Label as Label
from train.data.cnmc import Layout, read_labels, recognise
from train.data.cnmc import parse_name as parse_name
from train.data.cnmc import subject_group as subject_group
from train.data.own import PART, read_folder, read_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSet:
    """The labelled cells of one or several folders.

    Attributes:
        root: the paths of the cells are relative to it.
        layout: what it was recognised as, in words.
        classes: how its files name the two classes.
        cells: in the order of their paths.
        notes: what the user must know: how patients were found, what was left out.
    """

    root: Path
    layout: str
    classes: Classes
    cells: list[Cell]
    notes: list[str] = field(default_factory=list)

    def has_folds(self) -> bool:
        """Whether any cell belongs to an official fold of C-NMC."""
        return any(cell.part != PART for cell in self.cells)


Data = DataSet | Path
"""A data set, or the folder or table to read it from."""


def load(
    sources: Sequence[Path] | Path, positive: str | None = None, expected: Classes | None = None
) -> DataSet:
    """Read one data set from folders and tables, whatever their layout.

    Args:
        sources: each C-NMC in a published layout (or the folder that holds it), a folder with images below
            folders named all and hem, a folder of class folders, or a CSV of path, patient and class.
        positive: the name of the positive class, if the classes are not named ALL and HEM.
        expected: the class names of the model that the data are for.

    Raises:
        InputError: a source is none of these, or sources do not go together; the message says why.
    """
    if isinstance(sources, Path):
        sources = [sources]
    loaded = [_load(source, positive, expected) for source in sources]
    for each in loaded:
        for note in each.notes:
            log.warning("%s: %s", each.root, note)
    return loaded[0] if len(loaded) == 1 else _joined(loaded)


def _load(source: Path, positive: str | None, expected: Classes | None) -> DataSet:
    if source.suffix.lower() == ".csv" and source.is_file():
        own = read_table(source, positive, expected)
        return DataSet(own.root, own.layout, own.classes, own.cells, own.notes)
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give a data folder or a CSV (path, patient, class)")
    layout = recognise(source)
    if layout is not None:
        return _official(source, layout, positive, expected)
    images = images_below(source)
    if not images:
        raise InputError(
            f"{source}: no images under training_data/fold_N/all and …/hem, in folders named by class or in a "
            "CSV (path, patient, class); see docs/training.md"
        )
    own = read_folder(source, images, positive, expected)
    return DataSet(own.root, own.layout, own.classes, own.cells, own.notes)


def _official(source: Path, layout: Layout, positive: str | None, expected: Classes | None) -> DataSet:
    if positive is not None and positive.casefold() != "all":
        raise InputError(f"--positive {positive}: {source} is C-NMC, whose positive class is ALL")
    if positive is None and expected is not None and expected != Classes():
        raise InputError(
            f"{source}: its classes are ALL and HEM, those of the model {expected.positive} and "
            f"{expected.negative}; add --positive ALL if ALL stands for {expected.positive}"
        )
    cells: list[Cell] = []
    if layout.training is not None:
        cells += [layout.cell(path) for path in images_below(layout.training)]
    if layout.prelim is not None and layout.labels is not None:
        rows = read_labels(layout.labels)
        cells += [layout.cell(path, rows) for path in images_below(layout.prelim)]
    if not cells:
        top = layout.training.name if layout.training else "training_data"
        raise InputError(f"{layout.root}: no images under {top}/fold_N/all and …/hem; see docs/training.md")
    notes = [f"left out: {', '.join(layout.left_out)}"] if layout.left_out else []
    return DataSet(layout.root, layout.name, Classes(), sorted(cells), notes)


def _joined(sets: Sequence[DataSet]) -> DataSet:
    """Several data sets as one, below the folder that holds them all."""
    for each in sets[1:]:
        if each.classes != sets[0].classes:
            raise InputError(
                f"{each.root}: its classes are {' and '.join(each.classes.names())}, those of {sets[0].root} "
                f"{' and '.join(sets[0].classes.names())}; data sets that are used together need the same two"
            )
    root = Path(os.path.commonpath([each.root.resolve() for each in sets]))
    cells = [
        replace(cell, path=(each.root.resolve() / cell.path).relative_to(root).as_posix())
        for each in sets
        for cell in each.cells
    ]
    if len({cell.path for cell in cells}) < len(cells):
        raise InputError("--data: one data set lies inside another; give each image once")
    layout = " + ".join(each.layout for each in sets)
    notes = [note for each in sets for note in each.notes]
    return DataSet(root, layout, sets[0].classes, sorted(cells), notes)


def images_below(folder: Path) -> list[Path]:
    """Every image of a folder and the folders in it, in the order of their paths; maybe none."""
    try:
        return [path for path in find_images([folder]) if not path.name.startswith("._")]
    except InputError:
        return []


def opened(data: Data) -> DataSet:
    """A data set as it is, or read from its folder."""
    return data if isinstance(data, DataSet) else load(data)


def scan(data: Data) -> list[Cell]:
    """Every labelled image of a data set, in the order of its path.

    Raises:
        InputError: as for `load`.
    """
    return opened(data).cells


def data_root(data: Data) -> Path:
    """The folder that the paths of `scan` are relative to."""
    if isinstance(data, DataSet):
        return data.root
    if data.suffix.lower() == ".csv" and data.is_file():
        return data.parent
    layout = recognise(data) if data.is_dir() else None
    return layout.root if layout else data


def cells_of(data: Data, paths: Sequence[str]) -> list[Cell]:
    """The cells that a split names.

    Raises:
        InputError: some are not there.
    """
    found = opened(data)
    by_path = {cell.path: cell for cell in found.cells}
    missing = [path for path in paths if path not in by_path]
    if missing:
        raise InputError(
            f"{found.root}: {len(missing)} images of the split are not there, the first {missing[0]}"
        )
    return [by_path[path] for path in paths]
