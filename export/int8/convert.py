"""A Keras model to a full-integer int8 TFLite flatbuffer."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edge.errors import LeukoscopeError
from edge.host.terminal.noise import without_noise
from edge.imaging.frame import Pixels
from export.int8.calibrate import WEIGHT_LEVELS, Calibrated, calibrate
from export.int8.deploy import Floats, Layer, deploy_graph, expect_equal, shifted
from export.int8.flatbuffer import expect_integers
from train.fit.batches import scale_pixels
from train.fit.recipe import MOBILENET_M, ModelRecipe

_COMPARED = 8
"""Crops on which the deploy graph has to equal the Keras model before it is quantised."""


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


def to_int8(
    model: keras.Model, crops: Pixels, recipe: ModelRecipe, *, with_map: bool = True, shift: float = 0.0
) -> bytes:
    """The deploy graph in int8: every weight, activation, input and output.

    Args:
        model: a `train.fit.model.mobilenet_m`.
        crops: (N, size, size, 3) uint8 RGB, the representative sample.
        recipe: input range and size.
        with_map: whether the activation map is an output.
        shift: added to the log-odds of ALL, see `export.figures.referral.fit_shift`.

    Returns:
        The flatbuffer; a camera's pixel p is its input p - 128. One output is (1, 2), the probabilities, one
        (1, C), the pooled features, and, if wanted, one (1, h, w, 2), the activation map. The same arguments give
        the same bytes on one machine.

    Raises:
        LeukoscopeError: the model is no MobileNet_M, or TFLite leaves something in it that is no integer.
    """
    graph = deploy_graph(model, recipe)
    expect_equal(graph, model, recipe, crops[:_COMPARED])
    flatbuffer = transcribe(calibrate(shifted(graph, shift), crops), with_map=with_map)
    expect_integers(flatbuffer)
    return flatbuffer


def int8(model: keras.Model, crops: Pixels, recipe: ModelRecipe) -> bytes:
    """The network of any run in int8 as `export` makes it, without a shift: `to_int8`, or TFLite's own for a rival."""
    convert = to_int8 if recipe.network == MOBILENET_M else plain_int8
    return convert(model, crops, recipe)


def transcribe(calibrated: Calibrated, *, with_map: bool = True) -> bytes:
    """The flatbuffer of a calibrated graph: TFLite's converter gets every range and chooses none."""
    graph = calibrated.graph

    def network(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        x = _on_range(x, graph.input.low, graph.input.high)
        for layer, scales, reach in zip(
            graph.layers, calibrated.weight_scales, calibrated.ranges, strict=True
        ):
            marked = replace(layer, kernel=_on_levels(layer, scales))
            last_map, x = x, _on_range(marked(x), reach.low, reach.high)
        pooled = _on_range(
            tf.reduce_mean(last_map, (1, 2)), calibrated.features.low, calibrated.features.high
        )
        logits = _on_range(tf.reduce_mean(x, (1, 2)), calibrated.logits.low, calibrated.logits.high)
        return (tf.nn.softmax(logits), pooled, x) if with_map else (tf.nn.softmax(logits), pooled)

    entry = tf.TensorSpec((1, graph.size, graph.size, 3), tf.float32, name="pixels")
    concrete = tf.function(network).get_concrete_function(entry)
    return _converted(tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()))


def plain_int8(model: keras.Model, crops: Pixels, recipe: ModelRecipe) -> bytes:
    """TFLite's own conversion of the Keras model, to compare `to_int8` with.

    Args:
        crops: (N, size, size, 3) uint8 RGB, the representative sample.

    Raises:
        LeukoscopeError: TFLite cannot convert it.
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
        converter.representative_dataset = sample
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return _converted(converter)


def _converted(converter: Any) -> bytes:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with without_noise():
            flatbuffer: bytes = converter.convert()
    except (ValueError, RuntimeError) as error:
        raise LeukoscopeError(f"TFLite cannot convert this model: {error}") from error
    return flatbuffer


def _on_range(x: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return tf.quantization.fake_quant_with_min_max_args(x, low, high)


def _on_levels(layer: Layer, scales: Floats) -> tf.Tensor:
    """The kernel with its channels' ranges; their operator wants the channels last."""
    reach = scales * WEIGHT_LEVELS
    axes = (0, 1, 3, 2) if layer.depthwise else (0, 1, 2, 3)
    kernel = tf.constant(layer.kernel.transpose(axes))
    marked = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -reach, reach, narrow_range=True
    )
    return tf.transpose(marked, axes) if layer.depthwise else marked
