"""The int8 network of a model file as ONNX, to run exactly the same arithmetic on other engines.

Weights, scales and biases are those of the flatbuffer, bit by bit. Activations become unsigned, shifted by
128, which changes no real value and is what x86 engines are fastest with: the input is the pixel itself.
Every tensor stands between QuantizeLinear and DequantizeLinear (QDQ), from which ONNX Runtime and OpenVINO
each make their own int8 kernels. ReLU6 needs no operator: its tensors' range is what it would cut to.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edge.errors import LeukoscopeError
from export.int8.flatbuffer import same_padding

OPSET = 17
IR_VERSION = 9  # read by ONNX Runtime from 1.16
_SHIFT = 128
_TYPES = {"int8": np.int8, "int32": np.int32}


@dataclass(slots=True)
class _Graph:
    """The graph as built so far."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


class _Reader:
    """The tensors of a flatbuffer."""

    def __init__(self, flatbuffer: bytes):
        self._model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
        self.subgraph = self._model.subgraphs[0]

    def name(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        names: dict[int, str] = {
            value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
        }
        return names[number]

    def shape(self, tensor: int) -> list[int]:
        return [int(side) for side in self.subgraph.tensors[tensor].shape]

    def scales(self, tensor: int) -> npt.NDArray[np.float32]:
        return np.asarray(self.subgraph.tensors[tensor].quantization.scale, np.float32)

    def zero_point(self, tensor: int) -> int:
        return int(self.subgraph.tensors[tensor].quantization.zeroPoint[0])

    def values(self, tensor: int, dtype: str) -> npt.NDArray[Any]:
        buffer = self._model.buffers[self.subgraph.tensors[tensor].buffer].data
        return np.asarray(buffer, np.uint8).view(_TYPES[dtype]).reshape(self.shape(tensor))


def to_onnx(flatbuffer: bytes) -> bytes:
    """An ONNX model in QDQ form.

    Args:
        flatbuffer: of `export.int8.convert.to_int8`, or of a model file.

    Returns:
        Serialised; input "pixels" (1, 3, size, size) uint8, the pixels themselves; outputs as in the
        flatbuffer, in its order, uint8, channels first.

    Raises:
        LeukoscopeError: an operator is not one of a deploy graph.
    """
    reader, graph = _Reader(flatbuffer), _Graph()
    (entry,), exits = reader.subgraph.inputs, list(reader.subgraph.outputs)
    real = {int(entry): _dequantised(graph, reader, int(entry), "pixels")}
    for operator in reader.subgraph.operators:
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        output = _operator(graph, reader, operator, real[source])
        real[target] = _requantised(graph, reader, target, output)
    _, height, width, channels = reader.shape(int(entry))
    shape = (1, channels, height, width)
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)]
    outputs = [
        helper.make_tensor_value_info(f"q{int(t)}", TensorProto.UINT8, _channels_first(reader.shape(int(t))))
        for t in exits
    ]
    made = helper.make_graph(graph.nodes, "mobilenet_m", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _operator(graph: _Graph, reader: _Reader, operator: Any, source: str) -> str:
    """The operator on real values; gives the name of its output."""
    kind, target = reader.name(operator), f"r{int(operator.outputs[0])}"
    match kind:
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            return _convolution(graph, reader, operator, source, target, kind == "DEPTHWISE_CONV_2D")
        case "MEAN":
            return graph.node("ReduceMean", [source], target, axes=[2, 3], keepdims=0)
        case "SOFTMAX":
            return graph.node("Softmax", [source], target, axis=1)
    raise LeukoscopeError(f"{kind} does not belong in a deploy graph; export the model again")


def _convolution(
    graph: _Graph, reader: _Reader, operator: Any, source: str, target: str, depthwise: bool
) -> str:
    entry, kernel, bias = (int(tensor) for tensor in operator.inputs)
    options = operator.builtinOptions
    weights = reader.values(kernel, "int8")
    # (out, h, w, in), or (1, h, w, channels) where depthwise, to (out, in, h, w)
    weights = np.ascontiguousarray(weights.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2)))
    scales = reader.scales(kernel)
    real_weights = _constant_dequantised(graph, f"w{kernel}", weights, scales)
    real_bias = _constant_dequantised(
        graph, f"b{bias}", reader.values(bias, "int32"), reader.scales(entry)[0] * scales
    )
    padding = (0, 0)
    if options.padding == schema.Padding.SAME:
        padding = same_padding(reader.shape(entry)[1], weights.shape[2], options.strideH)
    return graph.node(
        "Conv",
        [source, real_weights, real_bias],
        target,
        group=reader.shape(entry)[3] // weights.shape[1],
        kernel_shape=list(weights.shape[2:]),
        strides=[options.strideH, options.strideW],
        pads=[padding[0], padding[0], padding[1], padding[1]],
    )


def _constant_dequantised(
    graph: _Graph, name: str, values: npt.NDArray[Any], scales: npt.NDArray[np.float32]
) -> str:
    zeros = np.zeros(len(scales), values.dtype)
    inputs = [
        graph.constant(name, values),
        graph.constant(f"{name}_scale", scales.astype(np.float32)),
        graph.constant(f"{name}_zero", zeros),
    ]
    return graph.node("DequantizeLinear", inputs, f"{name}_real", axis=0)


def _requantised(graph: _Graph, reader: _Reader, tensor: int, real: str) -> str:
    scale, zero = _format(graph, reader, tensor)
    graph.node("QuantizeLinear", [real, scale, zero], f"q{tensor}")
    return graph.node("DequantizeLinear", [f"q{tensor}", scale, zero], f"d{tensor}")


def _dequantised(graph: _Graph, reader: _Reader, tensor: int, quantised: str) -> str:
    return graph.node("DequantizeLinear", [quantised, *_format(graph, reader, tensor)], f"d{tensor}")


def _format(graph: _Graph, reader: _Reader, tensor: int) -> tuple[str, str]:
    scale = graph.constant(f"s{tensor}", np.asarray(reader.scales(tensor)[0], np.float32))
    zero_point = np.asarray(reader.zero_point(tensor) + _SHIFT, np.uint8)
    return scale, graph.constant(f"z{tensor}", zero_point)


def _channels_first(shape: list[int]) -> list[int]:
    return [shape[0], shape[3], shape[1], shape[2]] if len(shape) == 4 else shape
