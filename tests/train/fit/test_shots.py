"""What another camera does to a training picture: each alteration as often and as far as the recipe says."""

import numpy as np
import pytest

from edge.errors import InputError
from edge.imaging.frame import Pixels
from train.data.dataset import Cell
from train.fit import recipe as recipes
from train.fit.augment import augment
from train.fit.batches import TrainingBatches
from train.fit.recipe import AugmentRecipe, CameraRecipe
from train.fit.shots import cell_size, noisy, shot

GREY = np.full((32, 32, 3), 100, np.uint8)
DRAWS = 400


def disc(side: int = 64) -> Pixels:
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return np.repeat(((rows**2 + columns**2 < (side / 4) ** 2) * 150)[..., np.newaxis], 3, axis=2).astype(
        np.uint8
    )


def shots(recipe: CameraRecipe, picture: Pixels = GREY) -> list[Pixels]:
    return [shot(picture, recipe, np.random.default_rng([7, number])) for number in range(DRAWS)]


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


def test_a_quality_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="jpeg_quality"):
        recipes.changed(recipes.load("leukoscope"), ["camera.jpeg_quality=[0, 90]"])
