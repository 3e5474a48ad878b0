"""The gate on real cells: what is good passes, what is spoilt is referred with its reason."""

import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.imaging.files import find_images, read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from edge.imaging.quality import QualitySettings, measure, reasons

GEOMETRY = Geometry(crop=320, size=224)
COUNT = 60


@pytest.fixture(scope="module")
def cells(cnmc: Path) -> list[Pixels]:
    paths = find_images([cnmc / "training_data"])
    return [read_image(path) for path in random.Random(5).sample(paths, COUNT)]


def referred(cells: list[Pixels], change: Callable[[Pixels], Pixels], why: str) -> int:
    """How many are referred for that reason once they are changed."""
    found = [reasons(measure(prepare(change(cell), GEOMETRY))) for cell in cells]
    return sum(why in " ".join(each) for each in found)


def test_real_cells_pass(cells: list[Pixels]) -> None:
    assert sum(bool(reasons(measure(prepare(cell, GEOMETRY)))) for cell in cells) == 0


def test_real_cells_out_of_focus_are_referred(cells: list[Pixels]) -> None:
    assert referred(cells, lambda cell: cv2.GaussianBlur(cell, (0, 0), 1.0), "out of focus") == 0  # type: ignore[return-value]
    assert referred(cells, lambda cell: cv2.GaussianBlur(cell, (0, 0), 2.0), "out of focus") == COUNT  # type: ignore[return-value]


@pytest.mark.parametrize("contrast", [0.7, 1.5, 2.0])
def test_focus_is_judged_alike_whatever_the_light(cells: list[Pixels], contrast: float) -> None:
    for cell in cells[:10]:
        even = measure(prepare(cell, GEOMETRY))["sharpness"]
        other = measure(prepare(cv2.convertScaleAbs(cell, alpha=contrast), GEOMETRY))["sharpness"]  # type: ignore[arg-type]
        assert other == pytest.approx(even, rel=0.05)


def test_too_little_and_too_much_light_are_referred(cells: list[Pixels]) -> None:
    def light(factor: float) -> Callable[[Pixels], Pixels]:
        return lambda cell: cv2.convertScaleAbs(cell, alpha=factor)  # type: ignore[return-value]

    assert referred(cells, light(0.7), "exposed") == referred(cells, light(1.5), "exposed") == 0
    dark = referred(cells, light(0.35), "underexposed") + referred(cells, light(0.35), "no cell")
    assert dark >= 0.97 * COUNT
    assert referred(cells, light(4.0), "overexposed") >= 0.8 * COUNT


def test_a_cell_that_is_not_in_the_middle_is_none(cells: list[Pixels]) -> None:
    def moved(cell: Pixels) -> Pixels:
        return np.pad(cell, ((0, 0), (240, 0), (0, 0)))[:, :450]

    assert referred(cells, moved, "no cell") >= 0.97 * COUNT


def test_red_cells_and_an_empty_field_are_no_white_cell() -> None:
    field = np.full((450, 450, 3), (194, 193, 190), np.uint8)
    for x in range(60, 450, 110):
        for y in range(60, 450, 110):
            cv2.circle(field, (x, y), 45, (178, 145, 134), -1)
    noisy = np.clip(field + np.random.default_rng(0).normal(0, 3, field.shape), 0, 255).astype(np.uint8)
    assert "no cell" in reasons(measure(prepare(noisy, GEOMETRY)))[0]


def test_limits_can_be_lifted(cells: list[Pixels]) -> None:
    blurred = prepare(cv2.GaussianBlur(cells[0], (0, 0), 4.0), GEOMETRY)  # type: ignore[arg-type]
    assert reasons(measure(blurred), QualitySettings(min_sharpness=0.0)) == []


@pytest.mark.parametrize("side", [1, 2, 3, 7, 31, 64, 127, 600])
def test_a_crop_of_any_size_is_measured(side: int) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    assert all(np.isfinite(value) for value in measure(crop).values())
