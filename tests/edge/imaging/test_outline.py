"""The fine outline: pale cytoplasm belongs to the cell, background and red cells beside it do not."""

import cv2
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


def test_a_bright_rim_is_left_out_and_a_bright_spot_within_is_not() -> None:
    crop, outline = cell(0.2, 0.35), logits(0.37, 0.42)  # sure of more than the cell
    spot = way(SIZE, 0.6, 0.5) < 0.03
    crop[spot] = BACKGROUND
    mask = fine_mask(crop, outline)
    assert mask[spot].all()
    assert not mask[way(SIZE) > 0.37].any()
    assert dice(mask, way(SIZE) < 0.35) > 0.97


@pytest.mark.parametrize("size", [128, 160, 224])
def test_the_mask_has_its_place_and_area_at_every_size(size: int) -> None:
    crop = np.full((size, size, 3), BACKGROUND, np.uint8)
    truth = way(size, 0.52, 0.5) < 0.3
    crop[truth] = NUCLEUS
    mask = fine_mask(crop, logits(0.2, 0.42)) > 0
    assert mask.shape == truth.shape
    rows, columns = np.nonzero(mask)
    assert (rows.mean() / size, columns.mean() / size) == pytest.approx((0.5, 0.52), abs=0.01)
    assert mask.sum() == pytest.approx(truth.sum(), rel=0.04)


def test_the_mask_is_one_piece_and_convex_but_for_its_rim() -> None:
    crop, outline = cell(0.2, 0.35), logits(0.2, 0.42)
    crop[way(SIZE, 0.9, 0.9) < 0.1] = NUCLEUS
    mask = fine_mask(crop, outline)
    count, _ = cv2.connectedComponents(mask)
    assert count == 2  # and what is around
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.contourArea(cv2.convexHull(outlines[0]))
    assert cv2.contourArea(outlines[0]) > 0.97 * hull


def test_where_the_finder_is_sure_of_nothing_there_is_no_mask() -> None:
    assert not fine_mask(cell(0.2, 0.35), np.full((WORK_SIDE_PX, WORK_SIDE_PX), -8, np.float32)).any()
