"""A Keras model to a full-integer int8 TFLite flatbuffer."""

import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from edge.errors import LeukoscopeError
from edge.frame import Pixels
from train.batches import scale_pixels
from train.recipe import ModelRecipe


def representative_sample(labels_and_groups: list[tuple[str, str]], count: int) -> list[int]:
    """Which images calibrate the quantisation: every class and subject in turn, evenly over each.

    Args:
        labels_and_groups: label and subject of each image.
        count: how many at most.

    Returns:
        Positions, ascending.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for position, key in enumerate(labels_and_groups):
        members.setdefault(key, []).append(position)
    chosen: list[int] = []
    for turn in range(max(map(len, members.values()))):
        for group in members.values():
            if turn < len(group) and len(chosen) < count:
                # Strides of the golden ratio spread any number of picks over the group.
                left = [p for p in group if p not in chosen]
                chosen.append(left[int(turn * 0.618 * len(left)) % len(left)])
    return sorted(chosen)


def to_int8(model: keras.Model, crops: Pixels, recipe: ModelRecipe) -> bytes:
    """Quantise: int8 weights per channel, int8 activations calibrated on real crops, int8 in and out.

    Args:
        crops: (N, S, S, 3) uint8 RGB, the representative sample.

    Returns:
        The flatbuffer. Its input quantisation covers exactly the pixels 0…255, so that a camera's
        pixel p is p - 128.
    """

    def sample() -> Iterator[list[npt.NDArray[np.float32]]]:
        for index, crop in enumerate(crops):
            pixels = crop.copy()
            if index == 0:
                # No C-NMC cell has a pixel of 255; one here fixes the input's range to all of 0…255.
                pixels[0, 0], pixels[0, 1] = 255, 0
            yield [scale_pixels(pixels[np.newaxis], recipe)]

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = sample
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        try:
            flatbuffer: bytes = converter.convert()
        except (ValueError, RuntimeError) as error:
            raise LeukoscopeError(f"TFLite cannot convert this model: {error}") from error
    return flatbuffer


def tensors(flatbuffer: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """What TFLite says of a network's input and its first output: index, shape, dtype, quantization."""
    interpreter = Interpreter(model_content=flatbuffer)
    return interpreter.get_input_details()[0], interpreter.get_output_details()[0]
