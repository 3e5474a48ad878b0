"""The TFLite interpreter: whichever is installed, with bounded memory and without its own messages."""

import importlib
import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import InputError, LeukoscopeError
from edge.host.terminal.noise import without_noise

MAX_TENSOR_BYTES = 64 * 2**20
"""Of one tensor of a network; the largest of MobileNet 1.0/224 has 0.8 MB."""


def make_interpreter(flatbuffer: bytes, threads: int = 1) -> Any:
    """A TFLite interpreter, its tensors allocated.

    Raises:
        InputError: the interpreter refuses the flatbuffer.
        LeukoscopeError: no interpreter is installed.
    """
    interpreter_class = _interpreter_class()
    try:
        with without_noise():
            interpreter = interpreter_class(model_content=flatbuffer, num_threads=threads)
            _check_sizes(interpreter)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the interpreter cannot load the network: {error}") from error
    return interpreter


class Positions:
    """The features at each position, before they are pooled: a second interpreter that keeps what lies inside.

    Only for explanations: it runs without the fast kernels, and keeps every tensor.

    Args:
        flatbuffer: of the network.
        features: place of the pooled features among the network's outputs.

    Raises:
        InputError: the pooled features are not the mean of a tensor.
        LeukoscopeError: no interpreter is installed.
    """

    def __init__(self, flatbuffer: bytes, features: int):
        plain = importlib.import_module(_interpreter_class().__module__).OpResolverType
        with without_noise(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it keeps every tensor is what it is for
            self._interpreter = _interpreter_class()(
                model_content=flatbuffer,
                experimental_op_resolver_type=plain.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            _check_sizes(self._interpreter)
            self._interpreter.allocate_tensors()
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        pooled = self._interpreter.get_output_details()[features]["index"]
        means = [
            operator["inputs"][0]
            for operator in self._interpreter._get_ops_details()
            if operator["op_name"] == "MEAN" and pooled in operator["outputs"]
        ]
        if not means:
            raise InputError(
                "the network's features are no mean over positions, so nothing explains verdicts"
            )
        self._index = int(means[0])
        details = {tensor["index"]: tensor for tensor in self._interpreter.get_tensor_details()}
        self._scale, self._zero_point = details[self._index]["quantization"]

    def features(self, quantised: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """(h, w, F) float32, the features at each position.

        Args:
            quantised: (1, size, size, 3) int8, the network's input.
        """
        self._interpreter.set_tensor(self._input, quantised)
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._index)[0].astype(np.float32)
        return np.asarray((found - self._zero_point) * np.float32(self._scale))


def _check_sizes(interpreter: Any) -> None:
    """Refuse tensors that would fill the memory, before they are made."""
    for tensor in interpreter.get_tensor_details():
        tensor_bytes = math.prod(int(side) for side in tensor["shape"]) * np.dtype(tensor["dtype"]).itemsize
        if tensor_bytes > MAX_TENSOR_BYTES:
            raise InputError(
                f"tensor {tensor['name']} would take {tensor_bytes / 2**20:.0f} MiB; "
                f"{MAX_TENSOR_BYTES // 2**20} are the most"
            )


def _interpreter_class() -> Any:
    for module in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        try:
            return importlib.import_module(module).Interpreter
        except ImportError:
            continue
    raise LeukoscopeError("no TFLite interpreter is installed; run: pip install ai-edge-litert")
