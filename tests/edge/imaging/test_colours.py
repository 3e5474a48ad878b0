"""Colour figures on real cells: a lamp moves them as it should, a stain's strength is found and brought back."""

import cv2
import numpy as np
import pytest
from command import SAMPLES
from other_laboratory import recoloured

from edge.imaging.colours import SPREADS, TONES, colours, tone_of, tone_table, toned
from edge.imaging.files import find_images, read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from edge.imaging.quality import halved

GEOMETRY = Geometry(crop=256, size=128)


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    return [read_image(file) for file in find_images([SAMPLES])]


def mean_of(crops: list[Pixels]) -> np.ndarray:
    return np.mean([colours(halved(crop)) for crop in crops], axis=0)


def test_a_lamp_moves_hue_and_level_and_not_the_spreads(pictures) -> None:
    crops = [prepare(picture, GEOMETRY) for picture in pictures]
    lit = [np.rint(crop * np.array([0.9, 1.0, 1.1])).clip(0, 255).astype(np.uint8) for crop in crops]
    away = mean_of(lit) - mean_of(crops)
    assert away[:3] == pytest.approx([np.log(0.9), np.log(1.1), np.log(0.9 * 1.1) / 3], abs=0.02)
    assert np.abs(away[SPREADS]).max() < 0.05


def test_the_strength_of_another_stain_is_found_and_brought_back(pictures) -> None:
    crops = [prepare(picture, GEOMETRY) for picture in pictures]
    other = [prepare(recoloured(picture), GEOMETRY) for picture in pictures]
    tone = tone_of(mean_of(crops).tolist(), mean_of(other).tolist())
    assert tone == pytest.approx([1 / 0.70, 1 / 1.15, 1 / 1.45], rel=0.06)
    back = [toned(crop, tone_table(tone)) for crop in other]
    assert np.abs((mean_of(back) - mean_of(crops))[SPREADS]).max() < 0.1
    far, near = (np.mean([cv2.absdiff(a, b).mean() for a, b in zip(crops, each)]) for each in (other, back))
    assert near < far / 4


def test_black_stays_black_and_the_same_stain_changes_nothing(pictures) -> None:
    crop = prepare(pictures[0], GEOMETRY)
    assert (toned(crop, tone_table((1.4, 0.9, 0.7)))[crop.max(axis=2) == 0] == 0).all()
    np.testing.assert_array_equal(toned(crop, tone_table((1.0, 1.0, 1.0))), crop)


def test_an_exponent_is_bounded_and_an_empty_crop_has_no_figures(pictures) -> None:
    assert tone_of([0, 0, 0, 5, -5, 0], [0] * 6) == (TONES[1], TONES[0], 1.0)
    assert colours(np.zeros((64, 64, 3), np.uint8)) is None
