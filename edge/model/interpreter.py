"""The TFLite interpreter: whichever is installed, with bounded memory and without its own messages."""

import importlib
import math
from typing import Any

import numpy as np

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
