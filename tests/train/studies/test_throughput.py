"""The speed of training is measured on the same images that Keras' own fit takes."""

import numpy as np
import pytest

from train.fit import recipe as recipes
from train.studies import throughput


def test_train_and_keras_fit_take_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "IMAGES", 16)
    recipe = recipes.changed(recipes.load("leukoscope"), ["model.size=32", "fit.batch=8"])
    with throughput._drawn_batches(recipe) as batches:
        shown = sum(len(batches[number][0]) for number in range(len(batches)))
    assert shown >= 16
    ours, plain = throughput.measure_fit(recipe, rounds=2)
    assert len(ours) == len(plain) == 2
    assert np.all(np.array([ours, plain]) > 0)
