"""Who trains, who chooses, who judges: splits of a data set, by image as in the paper or by subject."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edge.errors import InputError
from train.dataset import LABELS, Cell, subject_group

Method = Literal["image", "subject"]
Side = Literal["train", "val", "test"]
SIDES: tuple[Side, Side, Side] = ("train", "val", "test")

# The paper's shares: floor(0.7 n) to train, floor(0.1 n) to choose, the rest to judge.
TRAIN_SHARE, VAL_SHARE = 0.7, 0.1


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One division of the cells of a fold.

    Attributes:
        fold: number of the official fold.
        method: "image" (cells of a patient on several sides) or "subject" (each patient on one).
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
    """Divide the cells of one official fold.

    Raises:
        InputError: the fold is not there or a class is too small to stand on every side.
    """
    members = sorted(cell for cell in cells if cell.part == f"fold_{fold}")
    if not members:
        raise InputError(f"fold_{fold}: no images; the data set has {sorted({c.part for c in cells})}")
    divide = _by_image if method == "image" else _by_subject
    sides = divide(members, np.random.default_rng(seed))
    for name in SIDES:
        missing = [label for label in LABELS if not any(cell.label == label for cell in sides[name])]
        if missing:
            raise InputError(
                f"fold_{fold}, split by {method}: no {missing[0]} cell on the {name} side; too few"
            )
    paths = {name: sorted(cell.path for cell in sides[name]) for name in SIDES}
    return Split(fold, method, seed, paths["train"], paths["val"], paths["test"])


def _by_image(cells: Sequence[Cell], rng: np.random.Generator) -> dict[Side, list[Cell]]:
    """The paper's way: each class shuffled and cut 70/10/20, whoever the cells belong to."""
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
    """Each patient, with its twins, on one side; the largest first, to the side furthest below its share."""
    shares: dict[Side, float] = {"train": TRAIN_SHARE, "val": VAL_SHARE, "test": 1 - TRAIN_SHARE - VAL_SHARE}
    sides: dict[Side, list[Cell]] = {"train": [], "val": [], "test": []}
    for label in LABELS:
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.label == label:
                groups.setdefault(subject_group(cell.subject), []).append(cell)
        if len(groups) < len(SIDES):
            raise InputError(
                f"class {label} has {len(groups)} subjects ({', '.join(sorted(groups))}); "
                f"a split by subject needs at least {len(SIDES)}, one for each side"
            )
        total = sum(map(len, groups.values()))
        names = sorted(groups)
        names = [names[i] for i in rng.permutation(len(names))]
        names.sort(key=lambda name: -len(groups[name]))
        filled: Counter[Side] = Counter()
        for position, name in enumerate(names):
            empty = [side for side in SIDES if not filled[side]]
            # The last groups go to sides that have none yet, so that every side has every class.
            choices = empty if len(names) - position <= len(empty) else list(SIDES)
            side = max(choices, key=lambda s: shares[s] * total - filled[s])
            filled[side] += len(groups[name])
            sides[side] += groups[name]
    return sides


def summary(split: Split, cells: Sequence[Cell]) -> dict[str, object]:
    """Counts and subjects of a split, as `dataset split --json` prints them."""
    by_path = {cell.path: cell for cell in cells}
    sides = {name: [by_path[path] for path in split.side(name)] for name in SIDES}
    counts = {name: {label: sum(c.label == label for c in sides[name]) for label in LABELS} for name in SIDES}
    subjects = {name: sorted({cell.subject for cell in sides[name]}, key=_natural) for name in SIDES}
    return {
        "fold": split.fold,
        "method": split.method,
        "seed": split.seed,
        "counts": counts,
        "subjects": subjects,
    }


def _natural(subject: str) -> tuple[bool, int]:
    return subject.startswith("H"), int(subject.lstrip("H"))


def write(split: Split, file: Path) -> None:
    """Write a split as JSON, one path a line."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(split), indent=1) + b"\n")


def read(file: Path) -> Split:
    """Read a split that `write` wrote.

    Raises:
        InputError: the file is missing or is not a split.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Split)
    except OSError as error:
        raise InputError(
            f"{file}: {error.strerror}; give a file from `leukoscope dataset split --out`"
        ) from error
    except msgspec.MsgspecError as error:
        raise InputError(f"{file}: not a split file: {error}") from error
