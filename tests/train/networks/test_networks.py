"""The paper's rivals: as large as published, and what each must do that the others need not."""

import importlib
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from edge.errors import InputError
from train.fit import recipe as recipes
from train.fit.batches import scale_pixels
from train.fit.model import network
from train.fit.recipe import NETWORKS, ModelRecipe
from train.networks import detection, mma_mtl, picture

HEAVY = [pytest.param(name, marks=pytest.mark.long) for name in ("vgg16", "yolov4")]


def recipe_of(name: str, size: int = 32) -> ModelRecipe:
    return recipes.changed(
        recipes.load("leukoscope"), [f"model.network={name}", f"model.size={size}", "model.crop=64"]
    ).model


def discs(sides: list[tuple[float, float, float]], size: int = 64) -> np.ndarray:
    """(N, size, size, 3) uint8: one disc each, at x, y, of that radius; shares of the side."""
    pictures = np.zeros((len(sides), size, size, 3), np.uint8)
    for image, (x, y, radius) in zip(pictures, sides):
        cv2.circle(image, (round(x * size), round(y * size)), round(radius * size), (150, 60, 120), -1)
    return pictures


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet50", "yolov4_tiny", *HEAVY])
def test_a_network_has_the_published_parameters(name: str) -> None:
    module = importlib.import_module(f"train.networks.{name}")
    classes = 80 if name.startswith("yolo") else 1000
    counted = module.network(recipe_of(name, 224), classes=classes).count_params()
    assert counted - 4 * sum(getattr(module, "NORMALISED", ())) == module.PARAMETERS


@pytest.mark.parametrize("name", ["alnett", "mma_mtl"])
def test_a_network_whose_count_is_not_open_stays_as_large_as_it_was(name: str) -> None:
    module = importlib.import_module(f"train.networks.{name}")
    assert module.network(recipe_of(name)).count_params() == module.PARAMETERS
    assert "not a published one" in module.__doc__


def test_each_network_is_a_module_and_the_recipe_names_all() -> None:
    folder = Path(importlib.import_module("train.networks").__file__).parent
    built = {
        path.stem
        for path in folder.glob("*.py")
        if "def build(" in path.read_text() or "build" in path.read_text().split()
    }
    assert set(NETWORKS) <= built


def test_normalisations_take_the_recipes_momentum() -> None:
    recipe = recipes.changed(recipes.load("leukoscope"), ["model.network=alnett", "model.bn_momentum=0.7"])
    momenta = {layer.momentum for layer in network(recipe.model).layers if hasattr(layer, "momentum")}
    assert momenta == {0.7}


def test_pre_trained_convolutions_see_what_they_were_trained_on(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    theirs = keras.applications.VGG16(input_shape=(32, 32, 3), include_top=False, weights=None)
    file = tmp_path / "vgg16_notop.weights.h5"
    theirs.save_weights(file)
    pixels = discs([(0.5, 0.5, 0.3), (0.4, 0.6, 0.2)], 32)
    expected = theirs(keras.applications.vgg16.preprocess_input(pixels.astype(np.float32)))
    recipe = recipe_of("vgg16")
    ours = network(recipe, str(file))
    convolutions = keras.Model(ours.inputs[0], ours.get_layer("flatten").input)
    found = convolutions(scale_pixels(pixels, recipe))
    assert float(np.abs(expected).max()) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "changes", "weights", "told"),
    [
        ("alnett", [], "imagenet", "Keras has none of alnett"),
        ("alnett", [], "/nope.h5", "no such file"),
        ("alexnet", ["model.frozen_blocks=3"], "none", "none of MobileNet's blocks"),
        ("alexnet", ["model.size=16"], "none", "model.size 16: too small for alexnet"),
        ("yolov4_tiny", ["model.size=40"], "none", "multiples of 32"),
    ],
)
def test_what_a_network_cannot_do_is_refused(name: str, changes: list[str], weights: str, told: str) -> None:
    recipe = recipes.changed(recipes.load("leukoscope"), [f"model.network={name}", *changes])
    with pytest.raises(InputError, match=told):
        network(recipe.model, weights)


@pytest.mark.parametrize("low", [-1.0, 0.0])
@pytest.mark.parametrize("light", [1.0, 0.4])
def test_the_cell_is_found_in_the_picture_itself(low: float, light: float) -> None:
    """Also with the paper's noise, and at the least brightness of its augmentation."""
    pixels = discs([(0.5, 0.5, 0.25), (0.25, 0.625, 0.125)]) * light
    pixels += np.random.default_rng(0).normal(0, 9, pixels.shape)
    inputs = np.clip(pixels, 0, 255).astype(np.float32) / 255 * (1 - low) + low
    box = keras.ops.convert_to_numpy(picture.cell_box(inputs, low, 1.0))
    np.testing.assert_allclose(box, [[0.5, 0.5, 0.5, 0.5], [0.25, 0.625, 0.25, 0.25]], atol=0.07)


def test_a_picture_without_black_is_all_cell() -> None:
    for level in (0.0, 0.8):
        box = picture.cell_box(np.full((1, 64, 64, 3), level, np.float32), 0.0, 1.0)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(box), [[0.5, 0.5, 1, 1]])


def test_overlap_of_boxes() -> None:
    box = np.array([[0.5, 0.5, 0.4, 0.2]], np.float32)
    overlap, penalty = (np.asarray(each) for each in detection.overlaps(box, box))
    assert overlap == pytest.approx(1, abs=1e-4) and penalty == pytest.approx(0, abs=1e-4)
    half = np.array([[0.6, 0.5, 0.2, 0.2]], np.float32)  # its right half
    overlap, penalty = (np.asarray(each) for each in detection.overlaps(box, half))
    assert overlap == pytest.approx(0.5, abs=1e-4) and 0 < penalty < 0.5
    apart = np.array([[0.1, 0.1, 0.05, 0.05]], np.float32)
    assert np.asarray(detection.overlaps(box, apart)[0]) == 0


def test_a_detector_learns_where_the_cell_is_without_being_told() -> None:
    """The box of the surest place against the one that was drawn: far off at first, then on the cell."""
    recipe = recipe_of("yolov4_tiny", 64)
    keras.utils.set_random_seed(0)
    pixels = keras.Input((64, 64, 3))
    x = pixels
    for filters in (8, 16, 32, 32):
        x = keras.layers.Conv2D(filters, 3, 2, "same", activation="relu")(x)
    x = keras.layers.Conv2D(64, 4, padding="same", activation="relu")(x)
    heads = [detection.Head(detection.head(x, 2, "head"), ((0.3, 0.3), (0.45, 0.45), (0.6, 0.6)))]
    model = detection.detector(pixels, heads, 2, recipe, "small")
    rng = np.random.default_rng(0)
    drawn = [(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.25)) for _ in range(96)]
    inputs = scale_pixels(discs(drawn), recipe)
    labels = np.eye(2, dtype=np.float32)[[int(radius > 0.185) for _, _, radius in drawn]]
    truth = np.array([[x, y, 2 * radius, 2 * radius] for x, y, radius in drawn], np.float32)

    def overlap() -> float:
        return float(np.mean(detection.overlaps(detection.found(model, inputs), truth)[0]))

    before = overlap()
    model.compile(keras.optimizers.Adam(0.003), "categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(inputs, labels, epochs=80, batch_size=32, verbose=0).history
    assert before < 0.35 and overlap() > 0.6
    assert history["accuracy"][-1] > 0.85


def test_mixup_is_of_training_alone_and_mixes_back() -> None:
    layer = mma_mtl.RademacherMixup()
    pixels = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    same, share = layer(pixels, training=False)
    assert np.array_equal(same, pixels) and np.array_equal(share, np.ones((4, 1)))
    shares = set()
    for _ in range(20):
        mixed, share = layer(pixels, training=True)
        own = float(np.asarray(share)[0, 0])
        shares.add(own)
        np.testing.assert_allclose(np.asarray(mixed)[0], own * 0 + (1 - own) * 3)
    assert shares == {0.5, 1.0}
    logits = np.array([[2.0, 0.0], [0.0, 4.0]], np.float32)
    back = np.asarray(mma_mtl.MixedBack()([logits, np.full((2, 1), 0.5, np.float32)], training=True))
    np.testing.assert_allclose(back, [[1, 2], [1, 2]])
