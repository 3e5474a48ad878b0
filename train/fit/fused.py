"""Batch normalisation in one operator while training: the same numbers as Keras' own, in fewer passes.

Keras composes mean, variance and scaling from six operators and their gradients, each of which reads the
whole layer from memory. On a CPU that is a third of the time of a MobileNet's training step.
"""

from typing import Any

import keras

from train.fit.smoothed import SmoothedConv2D

_AXES = 4
"""(N, H, W, C), channels last: what the fused operator takes."""


@keras.saving.register_keras_serializable("leukoscope")
class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras' batch normalisation, with TensorFlow's fused operator where it trains on TensorFlow."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise (N, H, W, C), and take the batch into the running means while training."""
        fused = training and self.trainable and keras.backend.backend() == "tensorflow"
        if not fused or len(inputs.shape) != _AXES or self.axis not in (-1, _AXES - 1):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma.value, self.beta.value, epsilon=self.epsilon, is_training=True
        )
        # The operator gives the unbiased variance, Keras keeps the other.
        count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], variance.dtype)
        variance *= (count - 1) / count
        for running, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + now * (1 - self.momentum))
        return outputs


def fused(model: keras.Model, smooth_passes: int = 0) -> keras.Model:
    """A copy of a functional model whose batch normalisations are fused, with the same weights.

    Args:
        smooth_passes: its first convolution, "conv1", sees the picture smoothed; see `train.fit.smoothed`.
    """

    def copied(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without weights or state
        kind, config = type(layer), layer.get_config()
        if kind is keras.layers.BatchNormalization:
            kind = FusedBatchNormalization
        elif smooth_passes and layer.name == "conv1":
            kind, config = SmoothedConv2D, {**config, "passes": smooth_passes}
        return kind.from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy
