"""One image of one cell, and the two classes that a data set names."""

from dataclasses import dataclass
from typing import Literal

from edge.errors import InputError

Label = Literal["ALL", "HEM"]
LABELS: tuple[Label, Label] = ("ALL", "HEM")
"""The positive and the negative class. A data set with class names of its own keeps these two labels inside
`train`; `Classes` holds the names that its files, reports and model files show."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One image of one cell.

    Attributes:
        path: of the image, relative to the data set's root, with forward slashes.
        label: "ALL" for the positive class (leukemic blast), "HEM" for the other (healthy precursor).
        subject: the patient: "51", "H10", or as the data set names it.
        part: "fold_0", "fold_1", "fold_2" or "prelim" of C-NMC; "own" for other data.
    """

    path: str
    label: Label
    subject: str
    part: str


@dataclass(frozen=True, slots=True)
class Classes:
    """The names of the two classes.

    Attributes:
        positive, negative: as the data set writes them.
    """

    positive: str = "ALL"
    negative: str = "HEM"

    def names(self) -> list[str]:
        """Both, the positive class first: the labels of a model file, in the order of the outputs."""
        return [self.positive, self.negative]

    def name(self, label: Label) -> str:
        """The data set's name of a label."""
        return self.positive if label == "ALL" else self.negative


OFFICIAL_CLASSES = Classes()


def choose_classes(names: list[str], positive: str | None, expected: Classes | None, source: str) -> Classes:
    """Decides which of the class names is the positive class.

    Args:
        names: that the data set has, each once.
        positive: the name that the user gives, in any case.
        expected: of the run or model that the data are for, if there is one.
        source: the data set, for messages.

    Raises:
        InputError: there are not two classes, or nothing says which is positive, or `expected` has others.
    """
    listed = ", ".join(names)
    if len(names) > 2:
        raise InputError(
            f"{source}: {len(names)} classes ({listed}), but a model tells two classes apart. Put the images "
            "into two folders, or give a CSV (path, patient, class) that names two classes; a model of "
            f"{len(names)} classes would need a network with {len(names)} outputs and metrics for them"
        )
    official = all(name.casefold() in ("all", "hem") for name in names)
    if len(names) < 2 and not official:
        raise InputError(f"{source}: only the class {listed}; a data set needs two classes")
    for name in names:
        if name.casefold() == "refer" or len(name) > 100 or not name.isprintable():
            raise InputError(f"{source}: {name[:100]!r} cannot be the name of a class; give it another name")
    classes = _chosen(names, positive, expected, source, official)
    if positive is None and expected is not None and classes != expected:
        raise InputError(
            f"{source}: its classes are {listed}, those of the model {expected.positive} and "
            f"{expected.negative}; name the class that stands for {expected.positive} with --positive"
        )
    return classes


def _chosen(
    names: list[str], positive: str | None, expected: Classes | None, source: str, official: bool
) -> Classes:
    by_case = {name.casefold(): name for name in names}
    if positive is None:
        if expected is not None and set(by_case) == {name.casefold() for name in expected.names()}:
            return expected
        if official:
            return Classes()
        raise InputError(
            f"{source}: the classes are {names[0]} and {names[1]}; name the positive one (the disease): "
            f"--positive {names[0]} or --positive {names[1]}"
        )
    if official:
        if positive.casefold() != "all":
            raise InputError(f"--positive {positive}: in {source} the positive class is ALL")
        return Classes()
    if positive.casefold() not in by_case:
        raise InputError(f"--positive {positive}: no such class in {source}; it has {' and '.join(names)}")
    chosen = by_case.pop(positive.casefold())
    return Classes(chosen, *by_case.values())
