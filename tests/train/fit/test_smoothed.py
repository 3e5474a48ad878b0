"""A smoothed convolution is a plain one of the smoothed picture."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from train.evaluate.ensemble import joined
from train.fit import recipe as recipes
from train.fit.layers import SmoothedConv2D
from train.fit.model import mobilenet_m

SMALL = ["model.alpha=0.25", "model.size=64"]


def network(passes: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    changes = [*SMALL, f"model.smooth_passes={passes}"]
    return mobilenet_m(recipes.changed(recipes.load("leukoscope"), changes).model)


def first_map(model: keras.Model, pictures: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model(model.input, model.get_layer("conv1").output)(pictures))


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize(("passes", "row"), [(1, [1, 2, 1]), (2, [1, 4, 6, 4, 1])])
def test_it_sees_the_picture_through_the_binomial_filter(
    passes: int, row: list[int], pictures: np.ndarray
) -> None:
    taps = np.array(row) / sum(row)
    smooth = np.stack([cv2.sepFilter2D(each, -1, taps, taps) for each in pictures])
    found, expected = first_map(network(passes), pictures), first_map(network(0), smooth)
    assert found.shape == expected.shape == (2, 32, 32, 8)
    inside = np.s_[:, 2:-2, 2:-2]  # at the border zeros are around the picture itself
    assert np.abs(expected[inside]).max() > 0.1
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)


def test_noise_is_halved_and_more() -> None:
    kernel = np.asarray(network(2).get_layer("conv1").smoothed_kernel())
    assert kernel.shape == (7, 7, 3, 8)
    plain = np.asarray(network(0).get_layer("conv1").get_weights()[0])
    np.testing.assert_allclose(kernel.sum((0, 1)), plain.sum((0, 1)), atol=1e-5)  # an even colour stays
    assert (np.square(kernel).sum((0, 1, 2)) < np.square(plain).sum((0, 1, 2)) / 4).all()


def test_it_is_read_back_as_it_was_and_trains(tmp_path: Path, pictures: np.ndarray) -> None:
    model = network(2)
    model.compile("sgd", "categorical_crossentropy")
    before = np.asarray(model.get_layer("conv1").kernel)
    model.train_on_batch(pictures, np.eye(2, dtype=np.float32))
    assert np.abs(np.asarray(model.get_layer("conv1").kernel) - before).max() > 0
    model.save(tmp_path / "best.keras")
    again = keras.models.load_model(tmp_path / "best.keras")
    assert isinstance(again.get_layer("conv1"), SmoothedConv2D)
    np.testing.assert_array_equal(again(pictures), model(pictures))


def test_two_of_them_join(pictures: np.ndarray) -> None:
    model = network(2)
    np.testing.assert_allclose(joined([model, model])(pictures), model(pictures), atol=1e-5)
