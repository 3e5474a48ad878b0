"""A first convolution that sees the picture smoothed, at the price of a wider kernel.

Noise of the sensor and the blocks of JPEG are of single pixels; what tells the classes apart is coarser. Smoothing the
picture and then convolving it is one convolution with the smoothed kernel, so the model file needs no step more.
"""

from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable("leukoscope")
class SmoothedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution whose kernel is smoothed by the binomial filter, 1 2 1 in both directions, before it is used.

    Args:
        passes: of the filter, each of which widens the kernel by a pixel on every side; the picture is seen as through a
            Gaussian of a sigma of √(passes / 2) pixels.
    """

    def __init__(self, *args: Any, passes: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.passes = passes

    def call(self, inputs: Any) -> Any:
        """Convolve (N, H, W, C) as a plain convolution does, with zeros around the picture."""
        outputs = self.convolution_op(inputs, self.smoothed_kernel())
        return outputs if self.activation is None else self.activation(outputs)

    def smoothed_kernel(self) -> Any:
        """(k + 2·passes, k + 2·passes, C, filters): the kernel that is used."""
        height, width, channels, filters = self.kernel.shape
        planes = keras.ops.reshape(self.kernel, (1, height, width, channels * filters))
        taps = _binomial(self.passes)
        reach = 2 * self.passes
        planes = keras.ops.pad(planes, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        weights = np.repeat(taps[..., np.newaxis, np.newaxis], channels * filters, axis=2)
        smoothed = keras.ops.depthwise_conv(planes, weights, padding="valid", data_format="channels_last")
        return keras.ops.reshape(smoothed, (height + reach, width + reach, channels, filters))

    def get_config(self) -> dict[str, Any]:
        """What a saved model needs to make this again."""
        return {**super().get_config(), "passes": self.passes}


def _binomial(passes: int) -> Any:
    """(2·passes + 1, 2·passes + 1) float32, of a sum of 1."""
    row = np.ones(1)
    for _ in range(passes):
        row = np.convolve(row, [0.25, 0.5, 0.25])
    return np.outer(row, row).astype(np.float32)
