"""A tiny int8 model with known weights: red above blue is ALL, blue above red is HEM.

A swap of the colour channels therefore flips its verdict.
"""

import functools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.imaging.preprocess import Geometry
from edge.model.file import InputFormat, Manifest, ModelFile, OutputFormat, make_interpreter, write_model

SIDE_PX = 32
GEOMETRY = Geometry(crop=64, size=SIDE_PX)
CARD = "# Tiny\n\nFor tests only.\n"


@functools.cache
def flatbuffer(quantised: bool = True, classes: int = 2) -> bytes:
    """The network, 32×32×3, in int8 with exactly the pixels 0…255 as its input, or in float."""
    import numpy as np

    tf = pytest.importorskip("tensorflow")

    kernel = np.zeros((3, classes), np.float32)
    kernel[0, 0], kernel[2, 0] = 4.0, -4.0
    kernel[0, 1], kernel[2, 1] = -4.0, 4.0

    def network(pictures: Any) -> Any:
        return tf.nn.softmax(tf.linalg.matmul(tf.reduce_mean(pictures, axis=(1, 2)), kernel))

    def representative() -> Any:
        rng = np.random.default_rng(0)
        for _ in range(20):
            # Means from one end to the other, and always a 0 and a 1: the input's range is exactly known.
            picture = rng.uniform(0, 1, (1, 1, 1, 3)).repeat(SIDE_PX, 1).repeat(SIDE_PX, 2)
            picture[0, 0, 0], picture[0, 0, 1] = 0.0, 1.0
            yield [picture.astype(np.float32)]

    concrete = tf.function(network).get_concrete_function(tf.TensorSpec((1, SIDE_PX, SIDE_PX, 3)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    if quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def manifest(**changes: Any) -> Manifest:
    """The manifest that fits `flatbuffer()`, with some of its fields changed."""
    probabilities = OutputFormat("probabilities", 0, [1, 2], "int8", 1 / 256, -128, "softmax")
    fitting = Manifest(
        name="tiny",
        labels=["ALL", "HEM"],
        geometry=GEOMETRY,
        input=InputFormat("int8", 1 / 255, -128, "RGB"),
        outputs=[probabilities],
    )
    return msgspec.structs.replace(fitting, **changes)


def write_tiny(path: Path, **changes: Any) -> ModelFile:
    """Write the whole model file, with some of the manifest's fields changed."""
    return write_model(path, flatbuffer(), manifest(**changes), CARD)


def input_quantisation(model: ModelFile) -> tuple[float, int]:
    """Scale and zero point as the flatbuffer has them."""
    scale, zero_point = make_interpreter(model.flatbuffer).get_input_details()[0]["quantization"]
    return float(scale), int(zero_point)
