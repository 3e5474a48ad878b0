"""Reviewed cells: what a person called ALL or HEM, with the picture; and what is too little or too contradictory."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import InputError, LeukoscopeError
from edge.host.text import harmless

LEAST_CELLS, LEAST_OF_A_CLASS = 10, 3
"""With fewer there is nothing to hold back for the check of what was fitted."""

DISAGREE_SHARE, DISAGREE_LEAST = 0.2, 3
"""Cells that were reviewed twice and called both ALL and HEM: more than this share, and at least so many, and the labels
teach nothing."""


@dataclass(frozen=True, slots=True)
class ReviewedCell:
    """One cell.

    Attributes:
        picture: the file.
        positive: whether it was called ALL (or the model's other name of it).
        specimen: slide, sample or patient; cells of one are never on both sides of a check.
        reviewer: who, or "".
        at: when, RFC 3339, or "".
    """

    picture: Path
    positive: bool
    specimen: str
    reviewer: str = ""
    at: str = ""


@dataclass(frozen=True)
class Reviewed:
    """Cells that a model can be fitted to.

    Attributes:
        cells: each picture once.
        source: the database or folder, for messages.
        notes: what was left out, and why.
        others: how many cells were called neither ALL nor HEM.
        square: the pictures are those of a box's archive: the whole square shows the cell.
        unreviewed: pictures of more cells of this laboratory, which nobody need have reviewed.
    """

    cells: Sequence[ReviewedCell]
    source: str
    notes: list[str] = field(default_factory=list)
    others: int = 0
    square: bool = False
    unreviewed: Sequence[Path] = ()

    def count(self, positive: bool) -> int:
        """Cells of one class."""
        return sum(cell.positive == positive for cell in self.cells)

    def specimens(self) -> list[str]:
        """Each once."""
        return sorted({cell.specimen for cell in self.cells})


def collect(
    cells: Iterable[ReviewedCell],
    source: str,
    names: tuple[str, str],
    notes: Iterable[str] = (),
    others: int = 0,
    square: bool = False,
    twice: int = 0,
    disagree: int = 0,
) -> Reviewed:
    """Cells with every picture once; refused if they are too few or contradict each other.

    Args:
        cells: one for each picture and label; a picture with both labels is left out.
        source: for messages.
        names: of the positive and the negative class.
        notes: to go on with.
        others: cells called neither.
        square: see `Reviewed`.
        twice, disagree: cells that several people reviewed, and on how many of them they disagree; these are not
            among `cells`.

    Raises:
        InputError: a picture cannot be read.
        LeukoscopeError: too few cells, one class only, or too many that were called both.
    """
    by_hash: dict[str, list[ReviewedCell]] = defaultdict(list)
    for cell in cells:
        by_hash[_hash(cell.picture)].append(cell)
    kept = [same[0] for same in by_hash.values() if len({cell.positive for cell in same}) == 1]
    both, repeated = len(by_hash) - len(kept), sum(len(same) > 1 for same in by_hash.values())
    said = list(notes)
    if disagree + both:
        _check_agreement(source, names, disagree + both, twice + repeated)
        said.append(f"{disagree + both} cells were called both {names[0]} and {names[1]}; they are left out")
    reviewed = Reviewed(kept, source, said, others, square)
    _check_number(reviewed, names)
    return reviewed


def _check_agreement(source: str, names: tuple[str, str], disagree: int, twice: int) -> None:
    if disagree >= DISAGREE_LEAST and disagree > DISAGREE_SHARE * twice:
        raise LeukoscopeError(
            f"{source}: of {twice} cells that were reviewed twice, {disagree} were called both {names[0]} and "
            f"{names[1]}; agree on them first: the page shows who said what"
        )


def _check_number(reviewed: Reviewed, names: tuple[str, str]) -> None:
    positive, negative = reviewed.count(True), reviewed.count(False)
    counts = f"{positive} {names[0]} and {negative} {names[1]}"
    if not positive and not negative:
        raise LeukoscopeError(
            f"{reviewed.source}: no cell with a picture was called {names[0]} or {names[1]}; review some"
        )
    if not positive or not negative:
        missing = names[0] if not positive else names[1]
        raise LeukoscopeError(
            f"{reviewed.source}: only one class was reviewed ({counts}); review cells that are {missing} too"
        )
    if positive + negative < LEAST_CELLS or min(positive, negative) < LEAST_OF_A_CLASS:
        raise LeukoscopeError(
            f"{reviewed.source}: too few reviewed cells ({counts}); at least {LEAST_CELLS} are needed, and "
            f"{LEAST_OF_A_CLASS} of each; about 40 do well"
        )


def _hash(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{harmless(file)}: {error.strerror}") from error


def in_words(counts: Counter[str]) -> str:
    """ "3 other, 1 not a cell"."""
    return ", ".join(f"{number} {harmless(label)}" for label, number in sorted(counts.items()))
