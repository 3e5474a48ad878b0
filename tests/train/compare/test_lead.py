"""Who is ahead, whether that is more than chance, and that a comparison's page begins with it."""

import re
from pathlib import Path

import numpy as np
import pytest

from train.compare import page
from train.compare.cells import SharedCells
from train.compare.comparison import Comparison
from train.compare.figures import NEW, TEST, Contestant, differences
from train.compare.lead import lead, ranked, sentence
from train.data.dataset import Cell
from train.evaluate.camera import CONDITIONS
from train.evaluate.metrics import macro_means
from train.evaluate.predictions import figures_of

COST = {"parameters": 1000, "multiply_adds": 1e6, "int8_bytes": 5e5, "latency_ms": 0.1, "refused": ""}
FACTS = {
    "network": "mobilenet_m",
    "weights": "random",
    "recipe": "leukoscope",
    "size": 32,
    "epochs": 2,
    "planned_epochs": 2,
    "images": 10,
    "seconds_an_epoch": 1.0,
}


def cells_of(patients: int, each: int = 10) -> list[Cell]:
    """So many patients of each class with so many cells each."""
    return [
        Cell(f"{label}{patient}_{number}.png", label, f"{label}{patient}", "fold_1")
        for label in ("ALL", "HEM")
        for patient in range(patients)
        for number in range(each)
    ]


def scores_of(cells: list[Cell], gap: float, seed: int = 0) -> np.ndarray:
    """(N,) float64, with the classes so far apart; with the same seed the same cells are hard."""
    hard = np.random.default_rng(seed).normal(0, 1.0, len(cells))
    side = np.array([1.0 if cell.label == "ALL" else -1.0 for cell in cells])
    return 1 / (1 + np.exp(-(gap * side + hard)))


def contestant(
    name: str, sets: dict[str, list[Cell]], gap: float, same_patients: bool = False, seed: int = 0
) -> Contestant:
    """One run whose scores come from `scores_of`."""
    rows, scores = {}, {}
    for which, cells in sets.items():
        scores[which] = scores_of(cells, gap, seed)
        row = figures_of(cells, scores[which], "cells" if same_patients else "subjects") | {"sigma": 0.0}
        means = dict(
            zip(("macro_precision", "macro_recall", "macro_f1"), macro_means(row["confusion"]), strict=True)
        )
        rows[which] = [row | means]
    figures = {"auc": 0.9, "sensitivity": 0.9, "specificity": 0.9}
    suite = {condition.name: figures for condition in CONDITIONS}
    return Contestant(name, None, FACTS, rows, scores, suite, COST)  # type: ignore[arg-type]


def found(patients: int, gaps: dict[str, float], same_patients: bool = False) -> str:
    """The sentence on test cells."""
    cells = cells_of(patients)
    contestants = [contestant(name, {TEST: cells}, gap, same_patients) for name, gap in gaps.items()]
    made = lead(contestants, SharedCells(cells, same_patients, []))
    assert made is not None
    return sentence(made)


def test_a_large_difference_over_many_patients_is_more_than_chance() -> None:
    told = found(8, {"small": 0.5, "large": 1.5})
    assert re.fullmatch(
        r"large is ahead of small on the 160 test cells: AUC 0\.\d{3} against 0\.\d{3}; the difference of 0\.\d{3} "
        r"\(95 % interval \+0\.\d{3} to \+0\.\d{3}\) is more than chance\.",
        told,
    ), told


def test_a_difference_that_other_cells_would_turn_round_may_be_chance() -> None:
    cells = cells_of(8)
    pair = [contestant(name, {TEST: cells}, 0.7, seed=seed) for seed, name in enumerate(("one", "other"))]
    made = lead(pair, SharedCells(cells, False, []))
    assert made is not None
    told = sentence(made)
    assert " is ahead of " in told and re.search(r"\(95 % interval -\S+ to \+\S+\) may be chance\.$", told)


@pytest.mark.parametrize(
    ("patients", "same_patients", "end"),
    [
        (2, False, "for these patients, who are too few to tell for others."),
        (8, True, "for these patients, who trained the runs; new patients are not predicted."),
    ],
)
def test_for_whom_it_holds_is_said(patients: int, same_patients: bool, end: str) -> None:
    told = found(patients, {"small": 0.5, "large": 1.5}, same_patients)
    assert "is more than chance" in told and told.endswith(end)


def test_runs_that_say_the_same_are_level() -> None:
    assert "a and b are level on the 160 test cells: AUC" in found(8, {"a": 1.0, "b": 1.0})


def test_new_patients_decide_where_there_are_any() -> None:
    test, new = cells_of(6), cells_of(5)
    contestants = [contestant(name, {TEST: test, NEW: new}, gap) for name, gap in (("a", 0.5), ("b", 1.5))]
    made = lead(contestants, SharedCells(test, True, new))
    assert made is not None and "ahead of a on 100 cells of new patients" in sentence(made)
    assert [each.name for each in ranked(contestants)] == ["b", "a"]


def test_one_run_or_one_class_has_no_lead() -> None:
    cells = cells_of(6)
    assert lead([contestant("a", {TEST: cells}, 1.0)], SharedCells(cells, False, [])) is None
    alike = [cell for cell in cells if cell.label == "ALL"]
    both = [contestant(name, {TEST: alike}, 1.0) for name in ("a", "b")]
    assert lead(both, SharedCells(alike, False, [])) is None


def test_the_page_begins_with_the_sentence_and_the_result_best_first(tmp_path: Path) -> None:
    cells = cells_of(5, 8)
    shared = SharedCells(cells, False, [])
    contestants = [contestant(name, {TEST: cells}, gap) for name, gap in (("a", 0.5), ("b<i>", 1.5))]
    made = Comparison(
        contestants,
        differences(contestants, shared),
        fold=1,
        same_patients=False,
        machine="this machine",
        notes=["few cells"],
        lead=lead(contestants, shared),
    )
    page.write(tmp_path, made)
    html = (tmp_path / "compare.html").read_text()
    heads = re.findall(r"<h2>(.*?)</h2>", html)
    assert heads[:3] == ["Result", "Differences", "All metrics"] and heads[-2] == "What the metrics mean"
    result = html[html.index("<h2>Result") : html.index("<h2>Differences")]
    assert result.index("b&lt;i&gt; is ahead of a") < result.index("<table") < result.index("few cells")
    assert re.findall(r'<th scope="row">(.*?)</th>', result) == ["b&lt;i&gt;", "a"]
    assert "<i>" not in html
