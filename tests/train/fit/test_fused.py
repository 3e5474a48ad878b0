"""The fused batch normalisation says what Keras' own says, forward, backward and in its running means."""

import keras
import numpy as np
import pytest

from train.fit import recipe as recipes
from train.fit.layers import FusedBatchNormalization
from train.fit.model import mobilenet_m

tf = pytest.importorskip("tensorflow")


def one_step(kind: type[keras.layers.Layer], inputs: np.ndarray, weighting: np.ndarray) -> list[np.ndarray]:
    """Outputs, gradients and running means of one training step."""
    layer = kind(momentum=0.9)
    layer.build(inputs.shape)
    layer.gamma.assign(np.linspace(0.5, 2, inputs.shape[-1]))
    with tf.GradientTape() as tape:
        x = tf.constant(inputs)
        tape.watch(x)
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(outputs * weighting)
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    return [np.asarray(value) for value in (outputs, *gradients, layer.moving_mean, layer.moving_variance)]


def test_the_same_numbers_as_keras_own() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(1, 3, (4, 3, 3, 8)).astype("float32")
    weighting = rng.normal(size=inputs.shape).astype("float32")
    ours = one_step(FusedBatchNormalization, inputs, weighting)
    theirs = one_step(keras.layers.BatchNormalization, inputs, weighting)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)


def test_every_normalisation_of_the_trunk_is_fused_and_a_frozen_one_keeps_its_means() -> None:
    changes = ["model.alpha=0.25", "model.size=32", "model.frozen_blocks=14"]
    model = mobilenet_m(recipes.changed(recipes.load("paper"), changes).model)
    trunk = [layer for layer in model.layers if isinstance(layer, FusedBatchNormalization)]
    assert len(trunk) == 27
    before = [np.asarray(layer.moving_mean) for layer in trunk]
    model(np.random.default_rng(0).random((4, 32, 32, 3), "float32"), training=True)
    for layer, mean in zip(trunk, before, strict=True):
        np.testing.assert_array_equal(np.asarray(layer.moving_mean), mean)
