"""Splits of a data set into training, validation and test sets: by image as in the paper, or by subject."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.host import typedfile
from edge.host.durable import replace_file
from train.data.balance import assign
from train.data.dataset import LABELS, OFFICIAL_CLASSES, Cell, Classes, subject_group
from train.data.own import PART

Method = Literal["image", "subject", "none"]
Side = Literal["train", "val", "test"]
SIDES: tuple[Side, Side, Side] = ("train", "val", "test")

# The paper's shares: floor(0.7 n) for training, floor(0.1 n) for validation, the rest for testing.
TRAIN_SHARE, VAL_SHARE = 0.7, 0.1

# The `fold` of a split that belongs to no fold, because nothing of it is held out.
NO_FOLD = -1


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One division of cells.

    Attributes:
        fold: number of the official fold; in a cross-validation the number of the test fold, from 0;
            NO_FOLD if all cells train.
        method: "image" (cells of one patient in several sets), "subject" (no patient in both training and
            test set) or "none" (all cells in the training set).
        seed: of the shuffle.
        train, val, test: paths of the images, relative to the data set's root.
    """

    fold: int
    method: Method
    seed: int
    train: list[str]
    val: list[str]
    test: list[str]

    def side(self, name: Side) -> list[str]:
        """The paths of one side."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def sha256(self) -> str:
        """A name for exactly this division."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def split_fold(cells: Sequence[Cell], fold: int, method: Method, seed: int) -> Split:
    """Divide the cells of one official fold, 70/10/20.

    Args:
        cells: of the data set; those of other folds are left out. Their order does not matter.
        fold: number of the fold. Data without folds are divided as a whole.
        method: "image" or "subject".
        seed: of the shuffle; the same cells and seed give the same split.

    Raises:
        InputError: the fold is not there or a class is too small to stand on every side.
    """
    if method not in ("image", "subject"):
        raise InputError(f"split by {method}: a fold is split by image or by subject")
    members = sorted(fold_cells(cells, fold))
    if not members:
        raise InputError(f"fold_{fold}: no images; the data set has {sorted({c.part for c in cells})}")
    for label in LABELS:
        if not any(cell.label == label for cell in members):
            raise InputError(f"fold_{fold}: no {label} images; both classes are needed")
    divide = _by_image if method == "image" else _by_subject
    sides = divide(members, np.random.default_rng(seed))
    for name in SIDES:
        missing = [label for label in LABELS if not any(cell.label == label for cell in sides[name])]
        if missing:
            raise InputError(
                f"fold_{fold}, split by {method}: no {missing[0]} cell in the {name} set; too few patients or images"
            )
    return _split(fold, method, seed, sides)


def fold_cells(cells: Sequence[Cell], fold: int) -> list[Cell]:
    """The cells of an official fold; all of them if the data have no folds."""
    if all(cell.part == PART for cell in cells):
        return list(cells)
    return [cell for cell in cells if cell.part == f"fold_{fold}"]


def cross_validation(cells: Sequence[Cell], folds: int, seed: int, *, val_share: float) -> list[Split]:
    """Divide all cells into folds by patient; each fold is the test set once while the others train.

    Patients, with their twins, are dealt so that the folds are as even as can be in the number of patients
    and in the number of cells of each class.

    Args:
        cells: of any parts. Their order does not matter.
        folds: how many, 2 or more.
        seed: of the shuffle; the same cells and seed give the same splits.
        val_share: of the training cells of each class, drawn by image, for choosing the epoch; 0 for none.
            They are of patients that train too, so they do not measure results on new patients.

    Returns:
        One split a fold, its `fold` the number from 0, its `method` "subject".

    Raises:
        InputError: fewer than 2 folds, a share outside 0 to 1, or a class with fewer patients than folds.
    """
    if folds < 2:
        raise InputError(f"{folds} folds: a cross-validation needs 2 or more")
    if not 0 <= val_share < 1:
        raise InputError(f"validation share {val_share}: give 0 or more and less than 1")
    groups = _groups(cells)
    _refuse_too_few(groups, folds, f"{folds} folds need at least {folds}, one for each fold")
    rng = np.random.default_rng(seed)
    amounts = _cells_by_class(groups)
    # Patients as well as cells: a fold with one very large patient would only measure that patient.
    columns = np.concatenate([amounts, amounts > 0], axis=1)
    side_of = assign(columns, np.full(folds, 1 / folds), rng)
    splits = []
    for fold in range(folds):
        sides: dict[Side, list[Cell]] = {"train": [], "val": [], "test": []}
        for group, side in zip(groups.values(), side_of, strict=True):
            sides["test" if side == fold else "train"] += group
        for label in LABELS:
            if not any(cell.label == label for cell in sides["test"]):
                raise InputError(
                    f"fold {fold} of {folds} has no {label} cell: too few patients have only that class; "
                    "take fewer folds"
                )
        _draw_val(sides, val_share, rng)
        splits.append(_split(fold, "subject", seed, sides))
    return splits


def everything(cells: Sequence[Cell], seed: int) -> Split:
    """All cells in the training set: for a model that ships, whose metrics come from elsewhere.

    Returns:
        A split with `fold` NO_FOLD and `method` "none"; `val` and `test` are empty.

    Raises:
        InputError: there are no cells, or a class has none.
    """
    for label in LABELS:
        if not any(cell.label == label for cell in cells):
            raise InputError(f"no {label} images; both classes are needed")
    return _split(NO_FOLD, "none", seed, {"train": list(cells), "val": [], "test": []})


def every_cell(cells: Sequence[Cell]) -> Split:
    """A split whose test list is every cell of a data set, to evaluate a model on all of it."""
    return _split(NO_FOLD, "none", 0, {"train": [], "val": [], "test": list(cells)})


def _split(fold: int, method: Method, seed: int, sides: dict[Side, list[Cell]]) -> Split:
    paths = {name: sorted(cell.path for cell in sides[name]) for name in SIDES}
    return Split(fold, method, seed, paths["train"], paths["val"], paths["test"])


def _by_image(cells: Sequence[Cell], rng: np.random.Generator) -> dict[Side, list[Cell]]:
    """The paper's way: each class shuffled and cut 70/10/20, regardless of patients."""
    sides: dict[Side, list[Cell]] = {"train": [], "val": [], "test": []}
    for label in LABELS:
        members = [cell for cell in cells if cell.label == label]
        order = [members[i] for i in rng.permutation(len(members))]
        # In tenths of whole numbers: 0.7 * 30 is 20.999… as a float.
        train, val = len(order) * 7 // 10, len(order) // 10
        sides["train"] += order[:train]
        sides["val"] += order[train : train + val]
        sides["test"] += order[train + val :]
    return sides


def _by_subject(cells: Sequence[Cell], rng: np.random.Generator) -> dict[Side, list[Cell]]:
    """Each patient, with its twins, in one set; the classes as near to 70/10/20 as patients allow."""
    groups = _groups(cells)
    _refuse_too_few(
        groups,
        len(SIDES),
        f"a split by subject needs at least {len(SIDES)}, one for each of training, validation and test",
    )
    shares = np.array([TRAIN_SHARE, VAL_SHARE, 1 - TRAIN_SHARE - VAL_SHARE])
    sides: dict[Side, list[Cell]] = {"train": [], "val": [], "test": []}
    for group, side in zip(groups.values(), assign(_cells_by_class(groups), shares, rng), strict=True):
        sides[SIDES[side]] += group
    return sides


def _groups(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of each patient, whatever their class, in the order of names."""
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells):
        groups.setdefault(subject_group(cell.subject), []).append(cell)
    return dict(sorted(groups.items()))


def _cells_by_class(groups: dict[str, list[Cell]]) -> npt.NDArray[np.float64]:
    """(groups, classes)."""
    return np.array(
        [[sum(c.label == label for c in group) for label in LABELS] for group in groups.values()], np.float64
    )


def _refuse_too_few(groups: dict[str, list[Cell]], least: int, need: str) -> None:
    for label in LABELS:
        names = [name for name, group in groups.items() if any(cell.label == label for cell in group)]
        if len(names) < least:
            raise InputError(f"class {label} has {len(names)} subjects ({', '.join(names)}); {need}")


def _draw_val(sides: dict[Side, list[Cell]], share: float, rng: np.random.Generator) -> None:
    """Move that share of the training cells of each class to `val`, in place."""
    for label in LABELS:
        members = sorted(cell for cell in sides["train"] if cell.label == label)
        drawn = {members[i] for i in rng.permutation(len(members))[: round(share * len(members))]}
        sides["train"] = [cell for cell in sides["train"] if cell not in drawn]
        sides["val"] += sorted(drawn)


def evenly(count: int, limit: int | None) -> npt.NDArray[np.int64]:
    """(N,) int64: which of `count` cells in the order of their paths a quick trial uses, evenly spread, so
    that both classes and most patients stay in; all of them without a limit."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.asarray(np.linspace(0, count - 1, limit).round(), np.int64)


def summary(split: Split, cells: Sequence[Cell], classes: Classes = OFFICIAL_CLASSES) -> dict[str, Any]:
    """Counts and subjects of a split, as `dataset split --json` prints them; classes as the data name them."""
    by_path = {cell.path: cell for cell in cells}
    sides = {name: [by_path[path] for path in split.side(name)] for name in SIDES}
    counts = {
        name: {classes.name(label): sum(c.label == label for c in sides[name]) for label in LABELS}
        for name in SIDES
    }
    subjects = {name: sorted({cell.subject for cell in sides[name]}, key=_natural) for name in SIDES}
    return {
        "fold": split.fold,
        "method": split.method,
        "seed": split.seed,
        "counts": counts,
        "subjects": subjects,
    }


def _natural(subject: str) -> tuple[bool, int, str]:
    """ "2" before "10" before "H1" before any other name."""
    number = subject.removeprefix("H")
    return (
        subject.startswith("H"),
        int(number) if number.isascii() and number.isdigit() else sys.maxsize,
        subject,
    )


def write(split: Split, file: Path) -> None:
    """Write a split as JSON, one path per line; its folder is made if it is missing.

    Raises:
        LeukoscopeError: it cannot be written.
    """
    replace_file(file, msgspec.json.format(msgspec.json.encode(split), indent=1) + b"\n")


def read(file: Path) -> Split:
    """Read a split that `write` wrote.

    Raises:
        InputError: the file is missing or is not a split.
    """
    remedy = "give a file from `leukoscope dataset split --out`"
    return typedfile.read(file, Split, msgspec.json.decode, name=f"split {file}", remedy=remedy)
