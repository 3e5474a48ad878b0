"""Reads a TFLite flatbuffer: its operators, the types of its tensors, its outputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edge.errors import LeukoscopeError

Padding = tuple[int, int]
"""Rows above and below, and alike columns to the left and right."""

INTEGER_OPERATORS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "PAD", "MEAN", "SOFTMAX"})
"""All that a deploy graph is made of. QUANTIZE and DEQUANTIZE are not among them: nothing in the network
changes its type, and input and output are int8."""

_INTEGER_TYPES = frozenset({"INT8", "INT32"})  # activations and weights; biases, shapes and axes


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of the network, in the order in which they run.

    Attributes:
        name: of the builtin operator, such as "CONV_2D", or of the custom one.
        outputs: numbers of its output tensors, as the interpreter counts them.
        custom: whether TFLite itself does not have it.
    """

    name: str
    outputs: tuple[int, ...]
    custom: bool


def operators(flatbuffer: bytes) -> list[Operator]:
    """Every operator of the network."""
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    found = []
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        # Codes above 127 stand in the second field, the first is of older files.
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = code.customCode.decode() if code.customCode else _NAMES[builtin]
        found.append(Operator(name, tuple(int(t) for t in operator.outputs), code.customCode is not None))
    return found


def tensor_types(flatbuffer: bytes) -> dict[str, str]:
    """Name → type of every tensor: "INT8", "FLOAT32" …"""
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    return {tensor.name.decode(): types[tensor.type] for tensor in model.subgraphs[0].tensors}


def multiply_adds(flatbuffer: bytes) -> int:
    """Multiply-adds of one inference, in convolutions and dense layers."""
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    graph = model.subgraphs[0]
    total = 0
    for operator, found in zip(graph.operators, operators(flatbuffer), strict=True):
        if found.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        kernel, output = (
            [int(side) for side in graph.tensors[t].shape] for t in (operator.inputs[1], operator.outputs[0])
        )
        # Kernels are (out, h, w, in), (1, h, w, channels) where depthwise, (out, in) where dense.
        per_output = math.prod(kernel[1:3] if found.name == "DEPTHWISE_CONV_2D" else kernel[1:])
        total += math.prod(output) * per_output
    return total


def with_outputs(flatbuffer: bytes, tensors: Sequence[int]) -> bytes:
    """The same network with other tensors as its outputs, for inspection on this machine only."""
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    model.subgraphs[0].outputs = list(tensors)
    model.signatureDefs = None  # they name the old outputs
    builder = flatbuffers.Builder(len(flatbuffer))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def same_padding(side: int, kernel: int, stride: int) -> Padding:
    """Rows above and below that TensorFlow's SAME adds: the odd one below, so it depends on the side."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def expect_integers(flatbuffer: bytes) -> None:
    """Refuse a network in which anything is computed in float, or by an operator that is not TFLite's own.

    Raises:
        LeukoscopeError: names every such operator and tensor, five at most.
    """
    foreign = {o.name for o in operators(flatbuffer) if o.custom or o.name not in INTEGER_OPERATORS}
    floats = [
        f"{name} ({kind})" for name, kind in tensor_types(flatbuffer).items() if kind not in _INTEGER_TYPES
    ]
    if foreign or floats:
        listed = ", ".join([*sorted(foreign), *floats][:5])
        raise LeukoscopeError(f"the converted network is not all int8: {listed}; is the model a MobileNet_M?")


_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
