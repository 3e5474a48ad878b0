"""What another camera does to a training picture: each alteration as often and as far as the recipe says."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from train.data.dataset import Cell
from train.fit import recipe as recipes
from train.fit.augment import affine_matrix, augment
from train.fit.batches import TrainingBatches, network_input
from train.fit.recipe import AugmentRecipe, CameraRecipe
from train.fit.shots import cell_size, compressed, noisy, shot

GREY = np.full((32, 32, 3), 100, np.uint8)
DRAWS = 400
SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "cells"
SAME = Geometry(crop=32, size=32)


def disc(side: int = 64) -> Pixels:
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return np.repeat(((rows**2 + columns**2 < (side / 4) ** 2) * 150)[..., np.newaxis], 3, axis=2).astype(
        np.uint8
    )


def shots(recipe: CameraRecipe, picture: Pixels = GREY) -> list[Pixels]:
    return [shot(picture, recipe, SAME, np.random.default_rng([7, number])) for number in range(DRAWS)]


@pytest.mark.parametrize(
    "recipe",
    [
        CameraRecipe(light_share=0.3, light=(0.8, 0.9)),
        CameraRecipe(balance_share=0.3, balance=0.1),
        CameraRecipe(gamma_share=0.3, gamma=(1.2, 1.3)),
        CameraRecipe(noise_share=0.3, noise_sigma_levels=20),
        CameraRecipe(blur_share=0.3, blur_sigma_pixels=3),
        CameraRecipe(jpeg_share=0.3, jpeg_quality=(20, 50)),
    ],
    ids=["light", "balance", "gamma", "noise", "blur", "jpeg"],
)
def test_each_alteration_comes_as_often_as_its_share_says(recipe: CameraRecipe) -> None:
    picture = GREY.copy()
    picture[8:20, 10:15] = (180, 60, 30)  # an edge, so that blur and compression show
    changed = np.mean([not np.array_equal(made, picture) for made in shots(recipe, picture)])
    assert changed == pytest.approx(0.3, abs=0.07)


def test_without_a_share_the_picture_stays() -> None:
    assert all(np.array_equal(made, GREY) for made in shots(CameraRecipe()))
    assert cell_size(CameraRecipe(), np.random.default_rng(0)) == 1.0


def test_light_is_a_factor_and_balance_is_of_each_channel() -> None:
    factors = np.array([made[0, 0] / 100 for made in shots(CameraRecipe(light_share=1, light=(0.8, 1.2)))])
    assert (factors == factors[:, :1]).all() and 0.8 <= factors.min() < 0.85 and 1.15 < factors.max() <= 1.2
    channels = np.array([made[0, 0] / 100 for made in shots(CameraRecipe(balance_share=1, balance=0.1))])
    assert 0.89 < channels.min() < 0.92 and 1.08 < channels.max() < 1.11
    assert abs(np.corrcoef(channels[:, 0], channels[:, 2])[0, 1]) < 0.2


def test_noise_is_as_strong_as_asked_and_differs_from_picture_to_picture() -> None:
    rng = np.random.default_rng(1)
    first, second = (noisy(np.full((128, 128, 3), 100, np.uint8), 6, rng).astype(int) - 100 for _ in range(2))
    assert first.std() == pytest.approx(6, rel=0.03) and abs(first.mean()) < 0.1
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def test_the_cell_becomes_larger_by_the_drawn_factor_and_stays_where_it_is() -> None:
    picture = disc()
    for factor in (0.8, 1.25):
        made = augment(picture, AugmentRecipe(), np.random.default_rng(0), factor)
        assert (made > 75).sum() == pytest.approx(factor**2 * (picture > 75).sum(), rel=0.05)
        rows, columns, _ = np.nonzero(made > 75)
        assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 31.5), abs=0.3)


def test_a_batch_holds_pictures_as_the_camera_table_says() -> None:
    cells = [Cell(f"{i}", "ALL" if i % 2 else "HEM", str(i), "fold_0") for i in range(64)]
    crops = np.full((64, 32, 32, 3), 100, np.uint8)
    plain = [
        "model.size=32",
        "fit.batch=64",
        "augment=",
        "camera=",
        "model.input_low=0.0",
        "model.cell_mean=",
    ]
    recipe = recipes.changed(recipes.load("leukoscope"), plain)
    clean, _ = TrainingBatches(crops, cells, recipe, 0)[0]
    assert np.ptp(clean) == 0
    darker = recipes.changed(recipe, ["camera.light_share=0.5", "camera.light=[0.5, 0.5]"])
    inputs, _ = TrainingBatches(crops, cells, darker, 0)[0]
    assert np.mean(inputs[:, 0, 0, 0] < 0.3) == pytest.approx(0.5, abs=0.2)


def test_a_picture_that_is_altered_before_resizing_reaches_the_network_as_on_the_box() -> None:
    keys = ["augment=", "camera=", "augment.before_resizing=true", "fit.batch=4"]
    recipe = recipes.changed(recipes.load("leukoscope"), keys)
    paths = sorted(SAMPLES.rglob("*.png"))[:4]
    pictures = [read_image(path) for path in paths]
    cells = [Cell(path.name, "ALL" if i % 2 else "HEM", str(i), "fold_0") for i, path in enumerate(paths)]
    crops = np.stack([prepare(picture, recipe.training_geometry) for picture in pictures])
    assert crops.shape[1] == 320
    batches = TrainingBatches(crops, cells, recipe, 0)
    on_the_box = np.stack([prepare(picture, recipe.model.geometry) for picture in pictures])
    expected = network_input(on_the_box, recipe.model)
    made, _ = batches[0]
    assert len(made) == 4
    for one in made:  # in the order of the epoch
        assert any(np.array_equal(one, other) for other in expected)


def test_blur_and_compression_before_resizing_are_of_the_cameras_pixels() -> None:
    picture = read_image(min(SAMPLES.rglob("*.png")))
    geometry = Geometry(crop=256, size=128, interpolation="area")
    large = prepare(picture, Geometry(crop=320, size=320))
    recipe = CameraRecipe(jpeg_share=1.0, jpeg_quality=(50, 50))
    made = shot(large, recipe, geometry, np.random.default_rng(0))
    assert np.array_equal(made, prepare(compressed(large, 50), geometry))
    recipe = CameraRecipe(blur_share=1.0, blur_sigma_pixels=1e-6)
    assert np.array_equal(shot(large, recipe, geometry, np.random.default_rng(0)), prepare(large, geometry))


def test_what_is_left_out_to_save_time_alters_nothing() -> None:
    """The reference: each step on the whole picture with three channels."""
    geometry = Geometry(crop=256, size=128, interpolation="area")
    turned = AugmentRecipe(rotation_deg=180.0, shift=0.03, flip_horizontal=0.5)
    for number, path in enumerate(sorted(SAMPLES.rglob("*.png"))[:8]):
        large = prepare(read_image(path), Geometry(crop=320, size=320))
        rng = np.random.default_rng(number)
        matrix = affine_matrix(turned, 320, np.random.default_rng(number))
        made = augment(large, turned, rng)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        assert np.array_equal(made, cv2.warpAffine(large, matrix, (320, 320), flags=flags))

        recipe = CameraRecipe(blur_share=1.0, blur_sigma_pixels=1.4, jpeg_share=1.0, jpeg_quality=(70, 70))
        made = shot(large, recipe, geometry, np.random.default_rng(number))
        random = np.random.default_rng(number)
        random.random()
        whole = cv2.GaussianBlur(large, (13, 13), 2 * random.uniform(0, 1.4))
        expected = prepare(compressed(np.asarray(whole), 70), geometry)
        # OpenCV rounds a few pixels of a wider picture in another way; JPEG makes two levels of one.
        assert np.abs(made.astype(int) - expected).max() <= 2
        assert (made == expected).mean() > 0.999


def test_what_is_altered_before_resizing_has_no_teacher() -> None:
    with pytest.raises(InputError, match="before_resizing"):
        recipes.changed(recipes.load("leukoscope"), ["augment.before_resizing=true", "distil.variants=4"])


def test_a_quality_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="jpeg_quality"):
        recipes.changed(recipes.load("leukoscope"), ["camera.jpeg_quality=[0, 90]"])
