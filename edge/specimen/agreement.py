"""How far two people agree who reviewed the same cells."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple


class Agreement(NamedTuple):
    """Of two reviewers.

    Attributes:
        reviewers: their names, in the order of the alphabet.
        cells: how many both reviewed.
        alike: of how many they say the same.
        kappa: Cohen's; None if both say one and the same of every cell, so that chance alone would explain it.
    """

    reviewers: tuple[str, str]
    cells: int
    alike: int
    kappa: float | None


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance (Cohen 1960, Educ Psychol Meas 20:37-46).

    Args:
        pairs: what each of two people said of a cell; one or more.

    Returns:
        At most 1; None if chance alone gives full agreement.
    """
    total = len(pairs)
    alike = sum(one == other for one, other in pairs) / total
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(first[label] * second[label] for label in first) / total**2
    return None if chance == 1 else (alike - chance) / (1 - chance)


def agreements(said: Iterable[tuple[str, str, str]]) -> list[Agreement]:
    """Every two reviewers that have cells in common, those with most cells first.

    Args:
        said: cell, reviewer and label, each cell and reviewer once.
    """
    by_person: dict[str, dict[str, str]] = {}
    for cell, reviewer, label in said:
        by_person.setdefault(reviewer, {})[cell] = label
    found = []
    for one, other in combinations(sorted(by_person), 2):
        both = by_person[one].keys() & by_person[other].keys()
        pairs = [(by_person[one][cell], by_person[other][cell]) for cell in both]
        if pairs:
            alike = sum(first == second for first, second in pairs)
            found.append(Agreement((one, other), len(pairs), alike, cohen_kappa(pairs)))
    return sorted(found, key=lambda agreement: -agreement.cells)
