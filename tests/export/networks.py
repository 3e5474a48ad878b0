"""MobileNet_M with ImageNet weights and a head that tells real cells apart, without a training."""

from pathlib import Path

import keras
import numpy as np

from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from train.data.dataset import Cell, data_root, scan
from train.fit.batches import scale_pixels
from train.fit.model import mobilenet_m
from train.fit.recipe import ModelRecipe

WEIGHTS = {1.0: "mobilenet_1_0_224_tf_no_top.h5", 0.25: "mobilenet_2_5_128_no_top.weights.h5"}


def recipe(alpha: float, size: int, low: float, smooth_passes: int = 0) -> ModelRecipe:
    return ModelRecipe(
        alpha=alpha,
        size=size,
        crop=448,
        interpolation="area",
        input_low=low,
        input_high=1.0,
        dropout=0.2,
        l1=0.0,
        smooth_passes=smooth_passes,
    )


def some_cells(data: Path, count: int, offset: int = 0) -> list[Cell]:
    """So many of either class, evenly over the data set; other ones at another offset."""
    cells = scan(data)
    by_label = [[cell for cell in cells if cell.label == label] for label in ("ALL", "HEM")]
    half = count // 2
    return [members[offset + i * (len(members) // (half + 1))] for members in by_label for i in range(half)]


def crops_of(data: Path, cells: list[Cell], size: int) -> Pixels:
    geometry = Geometry(crop=448, size=size, interpolation="area")
    return np.stack([prepare(read_image(data_root(data) / cell.path), geometry) for cell in cells])


def network(made_by: ModelRecipe, weights: Path, crops: Pixels, labels: list[str]) -> keras.Model:
    """ImageNet features, normalised over some cells, and the direction between the classes as the head."""
    model = mobilenet_m(made_by, str(weights / WEIGHTS[made_by.alpha]))
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    features = pooled.predict(scale_pixels(crops, made_by), verbose=0)
    mean, variance = features.mean(0), features.var(0) + 0.01
    channels = len(mean)
    gamma = np.linspace(0.5, 1.5, channels)  # none of the four is left at 1 or 0
    model.get_layer("head_bn").set_weights([gamma, np.linspace(-0.2, 0.2, channels), mean, variance])
    is_all = np.array(labels) == "ALL"
    normal = (features - mean) / np.sqrt(variance)
    direction = (normal[is_all].mean(0) - normal[~is_all].mean(0)) / gamma
    direction *= 3 / np.abs(normal @ (gamma * direction)).mean()
    kernel = np.stack([direction, -0.6 * direction], axis=1) / 2
    model.get_layer("probabilities").set_weights([kernel, np.array([0.3, -0.1])])
    return model


def another(model: keras.Model) -> keras.Model:
    """The same network with all weights a little off, so that it says something else."""
    rng = np.random.default_rng(0)
    copy = keras.models.clone_model(model)
    copy.set_weights([weights * rng.uniform(0.97, 1.03, weights.shape) for weights in model.get_weights()])
    return copy
