"""The first lines of a report, and its gallery of wrong verdicts."""

import re
from pathlib import Path

import numpy as np

from train.data.dataset import OFFICIAL_CLASSES, Cell, Classes
from train.evaluate import brief
from train.evaluate.predictions import Predictions, rows_of

SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "cells"


def predictions(sigma: float, scores: list[float]) -> Predictions:
    """Two ALL and two HEM cells of the samples with these scores."""
    cells = [
        Cell(image.relative_to(SAMPLES).as_posix(), label, f"{label}{number}", "")
        for label in ("ALL", "HEM")
        for number, image in enumerate(sorted((SAMPLES / label.lower()).iterdir())[:2])
    ]
    return Predictions("test", sigma, cells, np.array(scores))


def test_the_first_lines_count_cells_and_name_the_strongest_noise() -> None:
    rows = rows_of([predictions(0, [0.9, 0.8, 0.1, 0.7]), predictions(10, [0.9, 0.2, 0.1, 0.2])], "subjects")
    text = brief.in_short({"New <patients>": rows}, Classes("B<", "A"))
    assert text.count("<li>") == 2
    assert (
        "New &lt;patients&gt;, 4 patients, 4 cells</b>: 2 of 2 B&lt; cells called B&lt; (sensitivity 100.0 %)"
        in text
    )
    assert "noise of sigma 10</b>: 1 of 2 B&lt; cells" in text and "B<" not in text


def test_wrong_cells_are_shown_the_surest_first_and_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    made = predictions(0, [0.9, 0.4, 0.95, 0.1])
    page = brief.wrong_cells({"New patients": made}, SAMPLES, OFFICIAL_CLASSES)
    assert "2 of 4 cells wrong" in page
    assert re.findall(r"called (\w+), is (\w+)", page) == [("ALL", "HEM"), ("HEM", "ALL")]
    assert page.count("data:image/jpeg;base64,") == 2
    gone = brief.wrong_cells({"New patients": made}, tmp_path, OFFICIAL_CLASSES)
    assert gone.count("picture not there any more") == 2 and "base64" not in gone
    right = brief.wrong_cells({"x": predictions(0, [0.9, 0.9, 0.1, 0.1])}, SAMPLES, OFFICIAL_CLASSES)
    assert "0 of 4 cells wrong" in right and "figure" not in right
