"""The study of another laboratory, on the samples: what it draws, and what it prints."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
from edge.imaging.files import find_images, read_image
from edge.laboratory.seen import Seen
from train.studies.laboratory import OTHER, stained, study, table

ROOT = Path(__file__).resolve().parents[3]


def made(patients: int = 8, cells: int = 12) -> Seen:
    """Two classes that differ in one of four features; the base knows nothing."""
    rng = np.random.default_rng(0)
    positive = np.repeat(np.arange(patients) % 2 == 0, cells)
    features = rng.normal(size=(len(positive), 1, 4)).astype(np.float32)
    features[:, 0, 2] += 3 * positive
    specimen = np.repeat([f"p{n}" for n in range(patients)], cells)
    return Seen(features, rng.normal(size=(len(positive), 1)), positive, specimen)


def test_reviewed_cells_teach_what_the_base_does_not_know() -> None:
    seen = made()
    draws = study(seen, draws=5, reviewed=(10, 20))
    assert {number: len(each) for number, each in draws.items()} == {10: 5, 20: 5}
    for each in draws.values():
        assert np.mean([draw.before[0] for draw in each]) < 0.65
        assert np.mean([draw.after[0] for draw in each]) > 0.9
    text = table("made", seen, draws)
    assert "48 and 48 cells of 8 patients" in text and text.count("\n| ") == 3


def test_numbers_that_the_reviewed_patients_do_not_have_are_left_out() -> None:
    assert study(made(patients=4, cells=5), draws=2, reviewed=(80,)) == {80: []}


def test_another_stain_changes_the_cell_and_not_the_black_around_it() -> None:
    picture = read_image(find_images([ROOT / "samples/cells"])[0])
    changed = stained((0.7, 1.15, 1.45))(picture)
    black = picture.max(axis=2) <= 8
    assert (changed[black] == picture[black]).all()
    assert changed[~black].astype(int).mean(axis=0)[0] > picture[~black].mean(axis=0)[0]  # less dense in red
    assert changed[~black].astype(int).mean(axis=0)[2] < picture[~black].mean(axis=0)[2]
    assert OTHER.change is not None and OTHER.change(picture).shape == picture.shape
