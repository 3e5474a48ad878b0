"""The cell's mean colour, on real cells: another lamp makes no difference, and what is not cell takes no part."""

import cv2
import numpy as np
import pytest
from command import SAMPLES
from tiny_model import GEOMETRY, SIDE_PX, manifest, write_tiny

from edge.imaging.balance import balanced
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import prepare
from edge.model.classifier import Classifier
from edge.model.file import InputFormat, read_model
from edge.model.installed import default_model

CELL_MEAN = (68, 30, 79)
LAMPS = [(0.9, 0.9, 0.9), (1.1, 1.1, 1.1), (1.05, 1.0, 0.95), (0.95, 1.0, 1.05), (0.9, 1.0, 1.1)]


@pytest.fixture(scope="module", params=range(0, 40, 8))
def cell(request: pytest.FixtureRequest) -> Pixels:
    files = sorted(SAMPLES.rglob("*.png"))
    return prepare(read_image(files[request.param]), read_model(default_model()).manifest.geometry)


def lit(pixels: Pixels, factors: tuple[float, ...]) -> Pixels:
    return np.clip(np.rint(pixels * np.array(factors)), 0, 255).astype(np.uint8)


def mean_of_cell(pixels: Pixels) -> np.ndarray:
    return pixels[pixels.max(axis=2) > 20].astype(float).mean(axis=0)


def test_the_mean_of_the_cell_is_what_was_asked_for(cell: Pixels) -> None:
    assert mean_of_cell(balanced(cell, CELL_MEAN)) == pytest.approx(CELL_MEAN, abs=2)


@pytest.mark.parametrize("lamp", LAMPS)
def test_another_lamp_gives_the_same_picture(cell: Pixels, lamp: tuple[float, ...]) -> None:
    difference = cv2.absdiff(balanced(lit(cell, lamp), CELL_MEAN), balanced(cell, CELL_MEAN))
    assert difference.mean() < 1 < cv2.absdiff(lit(cell, lamp), cell)[cell > 20].mean()


def test_black_stays_black_and_its_noise_takes_no_part(cell: Pixels) -> None:
    dark = cell.max(axis=2) == 0
    assert balanced(cell, CELL_MEAN)[dark].max() == 0
    noise = np.random.default_rng(0).normal(0, 8, cell.shape)
    noisy = np.where(dark[..., np.newaxis], np.clip(cell + noise, 0, 255), cell).astype(np.uint8)
    difference = cv2.absdiff(balanced(noisy, CELL_MEAN), balanced(cell, CELL_MEAN))
    assert difference[~dark].max() <= 2


def test_a_picture_without_a_cell_and_a_model_without_a_mean_change_nothing(cell: Pixels) -> None:
    empty = np.full_like(cell, 12)
    np.testing.assert_array_equal(balanced(empty, CELL_MEAN), empty)
    np.testing.assert_array_equal(balanced(cell, None), cell)


def test_the_classifier_runs_the_network_on_the_balanced_picture(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("models")
    plain = write_tiny(folder / "plain.tflite")
    with_mean = write_tiny(
        folder / "mean.tflite", input=InputFormat("int8", 1 / 255, -128, "RGB", 0, 1, (90, 30, 60))
    )
    assert manifest().geometry == GEOMETRY
    crop = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    cv2.circle(crop, (16, 16), 10, (60, 20, 120), -1)  # blue: HEM as it is
    said = Classifier(with_mean).classify_crop(crop)
    assert said.probabilities == Classifier(plain).classify_crop(balanced(crop, (90, 30, 60))).probabilities
    assert said.probabilities["ALL"] > 0.5 > Classifier(plain).classify_crop(crop).probabilities["ALL"]
    assert said.quality == Classifier(plain).classify_crop(crop).quality  # of the picture as it came


def test_the_default_model_gives_the_same_verdict_under_another_lamp(cell: Pixels) -> None:
    classifier = Classifier(read_model(default_model()))
    clean = classifier.classify_crop(cell).probabilities["ALL"]
    for lamp in LAMPS:
        assert classifier.classify_crop(lit(cell, lamp)).probabilities["ALL"] == pytest.approx(clean, abs=0.2)
