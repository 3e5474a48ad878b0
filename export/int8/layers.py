"""The error of int8, layer by layer: shows which layer causes a loss of accuracy."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edge.errors import LeukoscopeError
from edge.imaging.frame import Pixels
from edge.model.classifier import quantisation_table
from edge.model.file import InputFormat, make_interpreter
from export.int8.deploy import DeployGraph, Floats
from export.int8.flatbuffer import operators, with_outputs

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_EXACT_DB = 120.0
"""Reported if there is no error; float32 itself has no more."""


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far one layer's int8 output is from the float one, all layers before it in int8 too.

    Attributes:
        name: of the layer.
        signal_to_noise_db: variance of the float output over the mean squared error, in decibels.
        bias: mean over the channels of |mean error|, over the output's standard deviation. Unlike noise,
            this does not average out over the positions.
    """

    name: str
    signal_to_noise_db: float
    bias: float


def layer_errors(
    graph: DeployGraph, flatbuffer: bytes, entry: InputFormat, crops: Pixels
) -> list[LayerError]:
    """Compare every layer of an int8 flatbuffer with the float graph that it was made of.

    Args:
        graph: the float one.
        flatbuffer: with one convolution for each layer of the graph, in the same order.
        entry: its input.
        crops: (N, size, size, 3) uint8 RGB.

    Raises:
        LeukoscopeError: the flatbuffer has another number of layers.
    """
    outputs = [o.outputs[0] for o in operators(flatbuffer) if o.name in _CONVOLUTIONS]
    # The plain converter leaves the dense layer out of the convolutions: compare what both have.
    layers = graph.layers[: len(outputs)]
    if len(outputs) < len(graph.layers) - 1 or len(outputs) > len(graph.layers):
        raise LeukoscopeError(f"{len(outputs)} convolutions in int8, {len(graph.layers)} layers in float")
    measured = _int8_outputs(flatbuffer, outputs, quantisation_table(entry)[crops])
    x: Any = graph.input.real(crops)
    errors = []
    for layer, values in zip(layers, measured, strict=True):
        x = layer(x)
        errors.append(_error(layer.name, tf.convert_to_tensor(x).numpy(), values))
    return errors


def summary(errors: list[LayerError]) -> list[dict[str, Any]]:
    """As JSON, in the order of the network; decibels to two places."""
    return [
        asdict(e) | {"signal_to_noise_db": round(e.signal_to_noise_db, 2), "bias": round(e.bias, 5)}
        for e in errors
    ]


def worst(errors: list[LayerError]) -> str:
    """The layer with the largest loss, in words."""
    before = [_EXACT_DB / 2, *(e.signal_to_noise_db for e in errors)]
    falls = [old - e.signal_to_noise_db for old, e in zip(before, errors)]
    index = int(np.argmax(falls[1:])) + 1
    return (
        f"most is lost in {errors[index].name}: {before[index]:.1f} dB of signal to noise before it, "
        f"{errors[index].signal_to_noise_db:.1f} dB behind it"
    )


def _int8_outputs(flatbuffer: bytes, wanted: list[int], inputs: Any) -> list[Floats]:
    """Real values of some tensors, (N, h, w, channels) each, for int8 inputs one at a time."""
    # Turned into outputs, so that they are those that the box computes. The interpreter's option to keep all tensors
    # disables XNNPACK, and its fallback kernels round twice.
    interpreter = make_interpreter(with_outputs(flatbuffer, wanted))
    entry = interpreter.get_input_details()[0]["index"]
    details = {tensor["index"]: tensor["quantization"] for tensor in interpreter.get_output_details()}
    values: list[list[Floats]] = [[] for _ in wanted]
    for one in inputs:
        interpreter.set_tensor(entry, one[np.newaxis])
        interpreter.invoke()
        for kept, tensor in zip(values, wanted, strict=True):
            scale, zero_point = details[tensor]
            quantised = interpreter.get_tensor(tensor)[0].astype(np.float32)
            kept.append((quantised - zero_point) * np.float32(scale))
    return [np.stack(kept) for kept in values]


def _error(name: str, exact: Floats, lossy: Floats) -> LayerError:
    difference = lossy.astype(np.float64) - exact
    signal, noise = exact.astype(np.float64).var(), np.square(difference).mean()
    ratio = 10 * np.log10(signal / noise) if noise else _EXACT_DB
    bias = np.abs(difference.mean((0, 1, 2))).mean() / max(np.sqrt(signal), 1e-12)
    return LayerError(name, float(ratio), float(bias))
