"""The fine outline: pale cytoplasm belongs to the cell, background and red cells beside it do not."""

import numpy as np
import pytest

from edge.imaging.field.outline import OTHER_CELL_LOGIT, WORK_SIDE_PX, Outline, fine_mask
from edge.imaging.frame import Pixels

SIZE = 128
NUCLEUS, CYTOPLASM, RED_CELL, BACKGROUND = (70, 40, 120), (170, 140, 190), (210, 165, 165), (220, 220, 220)


def way(size: int, x: float = 0.5, y: float = 0.5) -> np.ndarray:  # type: ignore[type-arg]
    """(size, size) float64: distance from a point, in parts of the side."""
    rows, columns = (np.mgrid[0:size, 0:size] + 0.5) / size
    return np.hypot(columns - x, rows - y)


def cell(nucleus: float, cytoplasm: float) -> Pixels:
    crop = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
    crop[way(SIZE) < cytoplasm] = CYTOPLASM
    crop[way(SIZE) < nucleus] = NUCLEUS
    return crop


def logits(sure: float, loose: float) -> Outline:
    """3 within `sure`, from there down to -3 at `loose`, both parts of the side."""
    return np.interp(way(WORK_SIDE_PX), (sure, loose, 0.75), (3, -3, -3.5)).astype(np.float32)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(2 * ((mask > 0) & truth).sum() / (mask.sum() + truth.sum()))


def test_pale_cytoplasm_that_the_finder_doubts_is_the_cells() -> None:
    crop, outline = cell(0.2, 0.35), logits(0.2, 0.42)
    assert (outline > 0).mean() < 0.8 * (way(SIZE) < 0.35).mean()
    assert dice(fine_mask(crop, outline), way(SIZE) < 0.35) > 0.95


def test_background_within_a_wide_outline_is_left_out() -> None:
    crop, outline = cell(0.25, 0.25), logits(0.2, 0.45)
    assert (outline > 0).mean() > 1.5 * (way(SIZE) < 0.25).mean()
    assert dice(fine_mask(crop, outline), way(SIZE) < 0.25) > 0.95


def test_a_red_cell_beside_it_is_left_out() -> None:
    crop, outline = cell(0.25, 0.25), logits(0.2, 0.45)
    red = (way(SIZE, 0.9, 0.5) < 0.2) & (way(SIZE) >= 0.25)
    crop[red] = RED_CELL
    mask = fine_mask(crop, outline)
    assert dice(mask, way(SIZE) < 0.25) > 0.93
    assert (mask[red] > 0).mean() < 0.1


def test_another_cells_pixels_are_left_out() -> None:
    crop, outline = cell(0.3, 0.3), logits(0.25, 0.4)
    outline[:, WORK_SIDE_PX * 3 // 4 :] = OTHER_CELL_LOGIT - 4
    crop[:, SIZE * 3 // 4 :] = NUCLEUS
    assert fine_mask(crop, outline)[:, SIZE * 3 // 4 + 1 :].sum() < 40


@pytest.mark.parametrize("colour", [0, 120, 255])
def test_without_any_contrast_there_is_a_mask_nevertheless(colour: int) -> None:
    mask = fine_mask(np.full((SIZE, SIZE, 3), colour, np.uint8), logits(0.2, 0.35))
    assert mask.shape == (SIZE, SIZE)
    assert 0.02 < mask.mean() < 0.5
