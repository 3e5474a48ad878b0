"""Which run is ahead, and whether that is more than chance, in one sentence."""

from collections.abc import Sequence
from typing import Any

from train.compare.cells import SharedCells
from train.compare.figures import NEW, TEST, Contestant, difference

FEW_PATIENTS = 3
"""With so many patients in a class or fewer, an interval over patients says next to nothing."""
_LEVEL = 0.0005
"""A difference of AUC that three decimals do not show."""


def deciding(contestants: Sequence[Contestant]) -> str:
    """The cells that decide: new patients if there are any, else the test cells."""
    return NEW if NEW in contestants[0].rows else TEST


def ranked(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Best first, by AUC on the cells that decide; as given where they are alike or have no AUC."""
    which = deciding(contestants)
    return sorted(contestants, key=lambda c: -(c.rows[which][0]["auc"] or 0.0))


def lead(contestants: Sequence[Contestant], cells: SharedCells) -> dict[str, Any] | None:
    """The best run beside the next one.

    Returns:
        cells, n, run, next, auc [of the run, of the next], same_patients, patients and figures as
        `train.compare.figures.differences` gives them; None for a single run, or cells of one class.
    """
    which = deciding(contestants)
    first, second, *_ = [*ranked(contestants), None, None]
    if first is None or second is None or second.rows[which][0]["auc"] is None:
        return None
    members = cells.new_patients if which == NEW else cells.test
    return {
        "cells": which,
        "n": len(members),
        "run": first.name,
        "next": second.name,
        "auc": [each.rows[which][0]["auc"] for each in (first, second)],
        "same_patients": which == TEST and cells.same_patients,
    } | difference(members, second.scores[which], first.scores[which])


def sentence(found: dict[str, Any]) -> str:
    """What `lead` found, as one sentence."""
    run, other, place = found["run"], found["next"], f"the {found['n']} {found['cells']}"
    if found["cells"] == NEW:
        place = f"{found['n']} cells of new patients"
    best, next_best = found["auc"]
    ahead = best - next_best
    if ahead < _LEVEL:
        return f"{run} and {other} are level on {place}: AUC {best:.3f}."
    return (
        f"{run} is ahead of {other} on {place}: AUC {best:.3f} against {next_best:.3f}; "
        f"the difference of {ahead:.3f} {_chance(found)}."
    )


def _chance(found: dict[str, Any]) -> str:
    """Whether the difference is more than chance, and for which cells that holds."""
    auc = found["figures"]["auc"]
    fewest = min(found["patients"].values())
    over_patients = not found["same_patients"] and fewest > FEW_PATIENTS
    interval = auc["over_patients" if over_patients else "over_cells"]
    if interval is None:
        return "cannot be judged: too few cells"
    low, high = interval
    told = f"(95 % interval {low:+.3f} to {high:+.3f})"
    if low <= 0 <= high:
        return f"{told} may be chance"
    if over_patients:
        return f"{told} is more than chance"
    if found["same_patients"]:
        return f"{told} is more than chance for these patients, who trained the runs; new patients are not predicted"
    return f"{told} is more than chance for these patients, who are too few to tell for others"
