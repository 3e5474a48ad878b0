"""The camera suite: each condition does to a picture what its name says, and the figures are of the right cells."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry
from train.data.dataset import Cell
from train.evaluate import camera

GEOMETRY = Geometry(crop=64, size=32)


def a_cell(side: int = 64, seed: int = 0) -> Pixels:
    """A textured disc on black."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(40, 160, (side, side, 3), np.uint8), (0, 0), 1)
    disc = np.zeros((side, side), np.uint8)
    cv2.circle(disc, (side // 2, side // 2), side // 3, 1, -1)
    return texture * disc[..., np.newaxis]


def condition(name: str) -> camera.Change:
    return next(each.change for each in camera.CONDITIONS if each.name == name) or (lambda pixels: pixels)


def means(pixels: Pixels) -> np.ndarray:
    return pixels[pixels.max(axis=2) > 30].mean(0)


def test_light_and_white_balance_change_the_channels_as_named() -> None:
    picture = a_cell()
    ratio = {
        name: means(condition(name)(picture)) / means(picture) for name in ("brightness 0.9", "light -500 K")
    }
    np.testing.assert_allclose(ratio["brightness 0.9"], 0.9, atol=0.01)
    red, green, blue = ratio["light -500 K"]
    assert red > 1.01 and green == pytest.approx(1, abs=0.005) and blue < 0.99  # a cooler body glows redder
    warm, cold = (means(condition(f"red {r}5 %, blue {b}5 %")(picture)) for r, b in ("+-", "-+"))
    np.testing.assert_allclose(warm / means(picture), [1.05, 1, 0.95], atol=0.01)
    np.testing.assert_allclose(cold / means(picture), [0.95, 1, 1.05], atol=0.01)
    assert means(condition("gamma 0.9")(picture)).min() > means(picture).min()


def test_size_makes_the_cell_larger_and_keeps_its_middle() -> None:
    picture = a_cell()
    areas = {
        name: (condition(name)(picture).max(axis=2) > 20).sum() for name in ("cell size 0.9", "cell size 1.1")
    }
    area = (picture.max(axis=2) > 20).sum()
    assert areas["cell size 0.9"] == pytest.approx(0.81 * area, rel=0.04)
    assert areas["cell size 1.1"] == pytest.approx(1.21 * area, rel=0.04)
    rows, columns = np.nonzero(condition("cell size 1.1")(picture).max(axis=2) > 20)
    assert (rows.mean(), columns.mean()) == pytest.approx((32, 32), abs=0.5)


def test_compression_blur_and_coarse_colours_lose_detail_in_their_order() -> None:
    picture = a_cell()

    def error(name: str) -> float:
        return float(np.abs(condition(name)(picture).astype(int) - picture).mean())

    assert 0 < error("JPEG 90") < error("JPEG 75") < error("JPEG 50")
    assert 0 < error("blur 0.8 px") < error("blur 1.5 px")
    assert error("colours 4:2:0") > 0
    grey = np.repeat(a_cell()[..., :1], 3, axis=2)
    assert np.abs(condition("colours 4:2:0")(grey).astype(int) - grey).max() <= 2


def test_every_condition_is_of_all_the_cells_and_the_worst_is_named(tmp_path: Path) -> None:
    cells = []
    for number in range(6):
        label = "ALL" if number % 2 else "HEM"
        # ALL is redder: whoever judges by red alone is wrong where the light is.
        picture = a_cell(seed=number) // (1 if label == "ALL" else 2)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture[..., ::-1])
        cells.append(Cell(f"{number}.png", label, str(number), ""))  # type: ignore[arg-type]

    def score(crops: Pixels) -> np.ndarray:
        return crops[..., 0].mean(axis=(1, 2)) / 70

    results = camera.judge(score, GEOMETRY, tmp_path, cells)
    assert list(results) == [each.name for each in camera.CONDITIONS] and len(results) == len(set(results))
    assert results["clean"] == {"auc": 1.0, "sensitivity": 0.0, "specificity": 1.0}
    assert camera.worst(results) == "clean"  # the first of many that are as good
    results["JPEG 50"] = {"auc": 0.9, "sensitivity": 1.0, "specificity": None}
    text = camera.text(results, len(cells))
    assert "worst: auc JPEG 50; sensitivity clean" in text and "–" in text


def test_a_suite_without_a_class_has_no_auc(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), a_cell())
    cell = Cell("0.png", "HEM", "H1", "")
    results = camera.judge(
        lambda crops: np.zeros(len(crops)), GEOMETRY, tmp_path, [cell], camera.CONDITIONS[:2]
    )
    assert results["clean"] == {"auc": None, "sensitivity": None, "specificity": 1.0}
    assert camera.worst(results) == ""


def test_figures_under_noise_are_the_mean_of_several_draws(tmp_path: Path) -> None:
    cells = []
    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((64, 64, 3), 128 + number % 2, np.uint8))
        cells.append(Cell(f"{number}.png", "ALL" if number % 2 else "HEM", str(number), ""))
    conditions = [each for each in camera.CONDITIONS if each.name in ("clean", "noise 10")]
    shown: list[Pixels] = []

    def score(crops: Pixels) -> np.ndarray:
        shown.append(crops)
        return crops[:, 0, 0, 0] / 255

    results = camera.judge(score, GEOMETRY, tmp_path, cells, conditions)
    clean, *noisy = shown
    assert len({pixels.tobytes() for pixels in noisy}) == len(noisy) == camera.DRAWS
    assert results["clean"]["auc"] == 1.0 and (clean[1] == 129).all()
    is_all = np.arange(8) % 2 == 1
    each = [roc_auc_score(is_all, pixels[:, 0, 0, 0]) for pixels in noisy]
    assert results["noise 10"]["auc"] == pytest.approx(np.mean(each)) and min(each) < max(each) < 1
    specificity = np.mean([(pixels[~is_all, 0, 0, 0] / 255 < 0.5).mean() for pixels in noisy])
    assert results["noise 10"]["specificity"] == pytest.approx(specificity)


def test_the_noise_is_that_of_the_networks_pixels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((64, 64, 3), 128, np.uint8))
    noisy = [each for each in camera.CONDITIONS if each.name.startswith("noise")]
    crops = camera.crops_of(tmp_path, ["0.png"], GEOMETRY, noisy)
    for each in noisy:
        assert crops[each.name].std() == pytest.approx(each.noise_sigma_levels, rel=0.05)
