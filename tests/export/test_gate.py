"""What export refuses for a box, and what the card says of the training."""

import numpy as np
import pytest
import tiny_model

from export.figures import card
from export.figures.parity import CellSet, Scored, parity, refusals
from train.data.dataset import Cell

CELLS = [Cell(f"{i}.png", "ALL" if i % 2 else "HEM", str(i), "fold_1") for i in range(40)]
GOOD = np.array([0.9 if cell.label == "ALL" else 0.1 for cell in CELLS])
RANKED = np.linspace(0.01, 0.4, 40)[np.argsort(np.argsort(GOOD, kind="stable"))]
"""Right in order, but every cell is called HEM."""


def found(before: np.ndarray, after: np.ndarray, cells: list[Cell] = CELLS, max_drop: float = 0.5) -> str:
    scored = Scored(CellSet("test side", cells, "subjects"), before, after)
    return "; ".join(refusals(parity(scored), cells, max_drop))


def test_a_good_file_passes() -> None:
    assert found(GOOD, GOOD) == ""
    assert found(GOOD, np.clip(GOOD + np.random.default_rng(0).normal(0, 0.05, 40), 0.01, 0.99)) == ""


def test_a_verdict_that_never_changes_is_refused_though_no_accuracy_is_lost() -> None:
    """The float model calls every cell HEM too, so nothing is lost; its order of the cells is."""
    constant = np.full(40, 0.4)
    text = found(RANKED, constant)
    assert (
        "loses 50.00 points of AUC" in text and "gives all 40 cells of both classes the same verdict" in text
    )
    assert "accuracy" not in text
    assert "same verdict" in found(RANKED, RANKED)


def test_cells_of_one_class_may_all_have_one_verdict() -> None:
    cells = [cell for cell in CELLS if cell.label == "ALL"]
    assert found(np.full(20, 0.9), np.full(20, 0.8), cells) == ""


def test_two_cells_that_change_places_are_no_loss() -> None:
    after = GOOD.copy()
    after[0], after[1] = 0.49, 0.5
    assert found(GOOD, after) == ""
    assert "points of accuracy" in found(GOOD, 1 - GOOD)


@pytest.mark.parametrize(
    ("training", "text"),
    [
        (
            {"images": 40, "images_of_the_split": 2506, "limit": 40},
            "On 40 (a quick trial, --limit 40) of the 2506 images",
        ),
        ({"images": 2506, "images_of_the_split": 2506, "limit": None}, "On 2506 images of the train"),
        ({"images": 2506}, "On 2506 images of the train"),
    ],
)
def test_the_card_tells_what_really_trained(training: dict[str, object], text: str) -> None:
    known = {
        "data": "C-NMC 2019",
        "fold": 1,
        "split": "subject",
        "split_seed": 0,
        "recipe": "paper",
        "weights": "none",
        "chosen_by": "last epoch",
        "epochs": 3,
        "best_epoch": 3,
        "representative": ["a", "b"],
    }
    manifest = tiny_model.manifest(
        training=known | training,
        parity={
            "agreement": 1.0,
            "n": 4,
            "cells": "test side",
            "drop_points": -0.2,
            "largest_probability_change": 0.0,
        },
        calibration={"why_not": "No cells were left."},
    )
    told = " ".join(card.card(manifest).split())
    assert text in told and "int8 gains 0.20 points of accuracy" in told
