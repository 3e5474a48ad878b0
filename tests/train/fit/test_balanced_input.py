"""Training sees each cell as the box does: with its mean colour balanced."""

import numpy as np
from command import SAMPLES

from edge.imaging.balance import balanced
from edge.imaging.files import read_image
from edge.imaging.preprocess import prepare
from train.fit.batches import network_input
from train.fit.recipe import load


def test_training_sees_the_same() -> None:
    recipe = load("leukoscope").model
    assert recipe.cell_mean is not None
    for file in sorted(SAMPLES.rglob("*.png"))[::8]:
        cell = prepare(read_image(file), recipe.geometry)
        (seen,) = network_input(cell[np.newaxis], recipe)
        np.testing.assert_allclose(seen, balanced(cell, recipe.cell_mean) / 127.5 - 1, atol=1e-6)
