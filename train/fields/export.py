"""The trained finder as an int8 file that the box runs."""

from collections.abc import Iterator

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edge.errors import LeukoscopeError
from edge.imaging.frame import Pixels


def to_int8(model: keras.Model, pictures: Pixels) -> bytes:
    """A network of whole fields in int8, its input p - 128 for a pixel p.

    Args:
        model: takes (1, H, W, 3) float32, pixels / 128 - 1.
        pictures: (N, H, W, 3) uint8 RGB that calibrate the ranges.

    Raises:
        LeukoscopeError: TFLite cannot convert it.
    """

    def sample() -> Iterator[list[npt.NDArray[np.float32]]]:
        for index, picture in enumerate(pictures):
            values = picture.astype(np.float32)[None] / 128 - 1
            if index == 0:  # the range of the input is all of 0…255
                values[0, 0, 0], values[0, 0, 1] = -1.0, 127 / 128
            yield [values]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = sample
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        flatbuffer: bytes = converter.convert()
    except (ValueError, RuntimeError) as error:
        raise LeukoscopeError(f"TFLite cannot convert this model: {error}") from error
    return flatbuffer
