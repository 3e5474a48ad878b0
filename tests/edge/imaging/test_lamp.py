"""The lamp: real and drawn fields under other lamps become the same even, neutral field."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.imaging.field.lamp import MAX_GAIN, WHITE_LEVELS, Lamp, find_lamp
from edge.imaging.field.resize import Halves, resized
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels

FIELDS = Path(__file__).resolve().parents[3] / "samples" / "fields"


def smears() -> list[Path]:
    return sorted(FIELDS.glob("smear_*.jpg"))


def lit(picture: Pixels, red: float, green: float, blue: float, fall: float = 0.0) -> Pixels:
    slope = np.linspace(1 - fall, 1, picture.shape[1])[None, :, None]
    return np.clip(picture * np.array((red, green, blue)) * slope + 0.5, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("file", smears(), ids=lambda file: file.stem)
@pytest.mark.parametrize(
    "lamp",
    [(1.05, 1, 0.95, 0), (0.95, 1, 1.05, 0), (0.85, 0.85, 0.85, 0), (1.1, 1.1, 1.1, 0), (1, 1, 1, 0.2)],
)
def test_another_lamp_gives_the_same_field(file: Path, lamp: tuple[float, float, float, float]) -> None:
    picture = read_image(file)
    other = lit(picture, *lamp)
    before, after = find_lamp(picture).neutral(picture), find_lamp(other).neutral(other)
    for channel in range(3):
        difference = np.abs(before[..., channel].astype(int) - after[..., channel])
        assert np.quantile(difference, 0.95) <= 6


@pytest.mark.parametrize("file", smears(), ids=lambda file: file.stem)
def test_the_background_becomes_white(file: Path) -> None:
    picture = read_image(file)
    neutral = cv2.resize(find_lamp(picture).neutral(picture), (64, 48), interpolation=cv2.INTER_AREA)
    background = neutral[neutral[..., 1] > np.quantile(neutral[..., 1], 0.8)].mean(axis=0)
    assert np.abs(background - WHITE_LEVELS).max() < 8


def test_a_part_is_made_neutral_as_the_whole() -> None:
    picture = lit(read_image(smears()[0]), 1, 1, 1, 0.2)
    lamp = find_lamp(picture)
    whole = lamp.neutral(picture)[100:200, 300:420]
    part = lamp.neutral(picture[100:200, 300:420], (300, 100, 420, 200))
    assert np.abs(whole.astype(int) - part).max() <= 3


def test_the_black_rim_of_an_eyepiece_is_no_background() -> None:
    picture = read_image(next(FIELDS.glob("phone_*.jpg")))
    neutral = find_lamp(picture).neutral(picture)
    middle = neutral[150:260, 150:260].reshape(-1, 3)
    brightest = middle[middle[:, 1] >= np.quantile(middle[:, 1], 0.95)].mean(axis=0)
    assert np.abs(brightest - WHITE_LEVELS).max() < 15


@pytest.mark.parametrize("level", [0, 3])
def test_a_black_field_stays_black(level: int) -> None:
    picture = np.full((480, 640, 3), level, np.uint8)
    assert find_lamp(picture).neutral(picture).max() <= 4 * level


def test_a_field_and_its_halves_are_resized_alike() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (301, 457, 3), np.uint8)
    halves = Halves(picture)
    for width, height in ((457, 301), (300, 200), (114, 75), (60, 40), (600, 400)):
        np.testing.assert_array_equal(resized(halves, width, height), resized(picture, width, height))


def test_the_gain_of_a_part_is_that_of_its_places() -> None:
    terms = np.array(
        [[5.3, 5.2, 5.1], [0.02, 0, 0.01], [0.01, 0.03, 0], [0, 0.02, 0], [0.01, 0, 0], [0, 0, 0.02]]
    )
    lamp = Lamp(terms, 640, 480)
    gain = lamp.gain(100, 50, 400, 310)
    x, y = 100 / 640 * 2 - 1, 310 / 480 * 2 - 1  # the left bottom corner
    white = np.exp(np.array([1, x, y, x * x, x * y, y * y]) @ terms)
    np.testing.assert_allclose(gain[-1, 0], np.minimum(WHITE_LEVELS / white, MAX_GAIN), rtol=1e-6)
