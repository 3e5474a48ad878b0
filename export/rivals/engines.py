"""`leukoscope bench --engines`: one network, the same images, on LiteRT, ONNX Runtime and OpenVINO.

All of them compute the int8 network of the model file, the bare network alone: pixels are prepared in each engine's
own layout, and outputs are not copied.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge.bench import DRAWN_SIDE_PX, WARM_UP_RUNS, drawn_images, percentiles
from edge.bench.command import asked_images, asked_models
from edge.bench.machine import busy, conditions, machine
from edge.errors import LeukoscopeError
from edge.host.terminal import console
from edge.imaging.balance import balanced
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import prepare
from edge.model.file import ModelFile, make_interpreter

try:
    from export.rivals.onnx_int8 import to_onnx
except ImportError as error:
    raise LeukoscopeError(
        f"--engines and --rivals need {error.name}, which is not installed: pip install 'leukoscope[bench]'"
    ) from error

Values = npt.NDArray[np.int16]


def command(options: argparse.Namespace) -> int:
    """`leukoscope bench --engines`.

    Raises:
        InputError: models or images cannot be read.
    """
    models, images = asked_models(options), asked_images(options)
    for model in models:
        for threads in options.threads:
            results = compare(model, images, options.runs, threads)
            console.figures(options.json, results, partial(format_table, results))
    return 0


class Engine(Protocol):
    """One way to run the network."""

    name: str

    def load(self, crop: Pixels) -> None:
        """Put a crop of (size, size, 3) uint8 RGB into the network's input."""

    def run(self) -> None:
        """Compute."""

    def probabilities(self) -> Values:
        """(2,) the quantised output, 0 to 255."""


class LiteRT:
    """The engine that the box uses."""

    def __init__(self, model: ModelFile, threads: int):
        self.name = f"LiteRT {version('ai-edge-litert')}"
        self._interpreter = make_interpreter(model.flatbuffer, threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = self._interpreter.get_output_details()
        self._output = outputs[model.manifest.probabilities().index]["index"]
        self.run = self._interpreter.invoke

    def load(self, crop: Pixels) -> None:
        """See `Engine`."""
        self._interpreter.set_tensor(self._input, (crop ^ 0x80).view(np.int8)[np.newaxis])

    def probabilities(self) -> Values:
        """See `Engine`."""
        return np.asarray(self._interpreter.get_tensor(self._output)[0].astype(np.int16) + 128)


class OnnxRuntime:
    """With inputs and outputs bound, so that a run copies nothing."""

    def __init__(self, model: ModelFile, onnx: bytes, threads: int):
        import onnxruntime

        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        size = model.manifest.geometry.size
        self._value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, 3, size, size), np.uint8))
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("pixels", self._value)
        for output in session.get_outputs():
            self._binding.bind_output(output.name)
        self._index = model.manifest.probabilities().index
        self.run: Callable[[], None] = lambda: session.run_with_iobinding(self._binding)

    def load(self, crop: Pixels) -> None:
        """See `Engine`."""
        self._value.update_inplace(np.ascontiguousarray(crop.transpose(2, 0, 1)[np.newaxis]))

    def probabilities(self) -> Values:
        """See `Engine`."""
        return np.asarray(self._binding.copy_outputs_to_cpu()[self._index][0].astype(np.int16))


class OpenVino:
    """On its CPU device, for latency."""

    def __init__(self, model: ModelFile, onnx: bytes, threads: int):
        import openvino

        self.name = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        core = openvino.Core()
        network = core.read_model(onnx)
        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
        self._request = core.compile_model(network, "CPU", settings).create_infer_request()
        size = model.manifest.geometry.size
        self._input = np.zeros((1, 3, size, size), np.uint8)
        self._request.set_input_tensor(openvino.Tensor(self._input, shared_memory=True))
        self._index = model.manifest.probabilities().index

    def load(self, crop: Pixels) -> None:
        """See `Engine`."""
        np.copyto(self._input[0], crop.transpose(2, 0, 1))

    def run(self) -> None:
        """See `Engine`."""
        self._request.start_async()
        self._request.wait()

    def probabilities(self) -> Values:
        """See `Engine`."""
        return np.asarray(self._request.get_output_tensor(self._index).data[0].astype(np.int16))


def engines(model: ModelFile, threads: int) -> tuple[list[Engine], list[str]]:
    """Those that are installed, LiteRT first, and the names of the others."""
    onnx = to_onnx(model.flatbuffer)
    found: list[Engine] = [LiteRT(model, threads)]
    missing = []
    for package, engine in (("onnxruntime", OnnxRuntime), ("openvino", OpenVino)):
        try:
            found.append(engine(model, onnx, threads))
        except ImportError:
            missing.append(package)
    return found, missing


def compare(model: ModelFile, images: Sequence[Pixels], runs: int, threads: int) -> dict[str, Any]:
    """Time every engine in turn on the same images.

    Args:
        images: (H, W, 3) uint8 RGB each; drawn by the simulator if there are none.

    Returns:
        For each engine its times, their ratio to LiteRT's, and the largest difference of a probability from
        LiteRT's, in quantised levels of 1/256.
    """
    manifest = model.manifest
    crops = [
        balanced(prepare(image, manifest.geometry), manifest.input.cell_mean)
        for image in images or drawn_images(*[DRAWN_SIDE_PX] * 2)
    ]
    found, missing = engines(model, threads)
    before = conditions()
    times_ms, differences = _in_turn(found, crops, runs)
    first = percentiles(times_ms[found[0].name])
    rows = [
        {
            "engine": name,
            "invoke_ms": (figures := percentiles(times)),
            "ratio": {key: round(figures[key] / first[key], 4) for key in ("min", "p50")},
            "largest_difference": differences[name],
        }
        for name, times in times_ms.items()
    ]
    return {
        "model": model.manifest.name,
        "model_sha256": model.sha256,
        "runs": runs,
        "threads": threads,
        "engines": rows,
        "missing": missing,
        "machine": machine(),
        "conditions": {"before": before, "after": conditions()},
    }


def _in_turn(
    found: list[Engine], crops: list[Pixels], runs: int
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Milliseconds of each run, and the largest difference from the first engine's output, by engine."""
    times_ms: dict[str, list[float]] = {engine.name: [] for engine in found}
    differences = dict.fromkeys(times_ms, 0)
    for run in range(-WARM_UP_RUNS, runs):
        crop = crops[run % len(crops)]
        values = {}
        for turn in range(len(found)):  # each engine goes first equally often
            engine = found[(run + turn) % len(found)]
            engine.load(crop)
            started = time.perf_counter_ns()
            engine.run()
            duration_ms = (time.perf_counter_ns() - started) / 1e6
            values[engine.name] = engine.probabilities()
            if run >= 0:
                times_ms[engine.name].append(duration_ms)
        for name, own in values.items():
            differences[name] = max(differences[name], int(np.abs(own - values[found[0].name]).max()))
    return times_ms, differences


def format_table(results: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{results['model']} ({results['model_sha256'][:12]}) on {results['machine']}",
        f"the int8 network alone, {results['runs']} runs of each in turn, threads: {results['threads']}; milliseconds",
        *busy(results),
        f"{'':<22}"
        + "".join(f"{name:>9}" for name in ("min", "p50", "p95", "p99", "max"))
        + "   min and p50 / "
        "LiteRT   differs by",
    ]
    for row in results["engines"]:
        figures = "".join(f"{value:>9.3f}" for value in row["invoke_ms"].values())
        ratio = row["ratio"]
        lines.append(
            f"{row['engine']:<22}{figures}{ratio['min']:>12.3f}{ratio['p50']:>9.3f}"
            f"{row['largest_difference']:>12} of 256"
        )
    if results["missing"]:
        lines.append(f"not installed: {', '.join(results['missing'])} (pip install 'leukoscope[bench]')")
    return "\n".join(lines)
