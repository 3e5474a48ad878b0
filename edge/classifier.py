"""The classifier: a frame in, a verdict with its probabilities out."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge import quality
from edge.errors import InputError
from edge.frame import Pixels
from edge.modelfile import InputFormat, ModelFile, open_model
from edge.modelfile import make_interpreter as make_interpreter  # for the exporter, which reads tensors
from edge.preprocess import prepare

Verdict = Literal["ALL", "HEM", "refer"]

DEFAULT_MODEL = "mobilenet_m_1_0_224.tflite"
INSTALLED_MODELS = Path("/opt/leukoscope/models")

PROBABILITY_FLOOR = 1e-6
"""No probability is reported nearer to 0 or 1: eight bits of output cannot carry such certainty."""

_ROUNDING_TOLERANCE = 1e-3
"""Quantised levels; nearer than this to a half, the 32-bit scale decides how it is rounded."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the classifier says about one frame.

    Attributes:
        verdict: the likelier class, or "refer" where a person should look.
        probabilities: of ALL and HEM; together 1, never exactly 0 or 1.
        reasons: why the verdict is "refer"; empty otherwise.
        quality: see `edge.quality.measure`.
        timings_ms: "preprocess" (crop, resize, quality, into the input tensor) and "invoke".
    """

    verdict: Verdict
    probabilities: dict[str, float]
    reasons: list[str]
    quality: dict[str, float]
    timings_ms: dict[str, float]


class Classifier:
    """Runs one model file. Not for use by several threads at once: the tensors are shared.

    Args:
        threads: of the interpreter.
        refer_below: in place of the model file's own threshold, where given.

    Raises:
        InputError: the model does not load, or is not what its manifest says.
        LeukoscopeError: no interpreter is installed.
    """

    def __init__(self, model: ModelFile, threads: int = 1, refer_below: float | None = None):
        manifest = model.manifest
        self._geometry = manifest.geometry
        self._labels = manifest.labels
        self._output = manifest.probabilities()
        self._temperature = manifest.temperature
        self._refer_below = manifest.refer_below if refer_below is None else refer_below
        self._interpreter = open_model(model, threads)
        self._input_index: int = self._interpreter.get_input_details()[0]["index"]
        self._output_index: int = self._interpreter.get_output_details()[self._output.index]["index"]
        side = manifest.geometry.size
        self._crop: Pixels = np.zeros((side, side, 3), np.uint8)
        self._table = None if is_shift(manifest.input) else quantisation_table(manifest.input)

    def classify(self, pixels: Pixels) -> Prediction:
        """Crop, resize, run and judge one frame.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Raises:
            InputError: the frame is not (H, W, 3) uint8.
        """
        started = time.perf_counter_ns()
        prepare(pixels, self._geometry, out=self._crop)
        return self._run(started)

    def classify_crop(self, crop: Pixels) -> Prediction:
        """Run and judge a crop that `edge.preprocess.prepare` has made with the model's geometry.

        Args:
            crop: (size, size, 3) uint8 RGB.

        Raises:
            InputError: it has another shape or type.
        """
        started = time.perf_counter_ns()
        if crop.shape != self._crop.shape or crop.dtype != np.uint8:
            raise InputError(f"the crop is {crop.dtype} of shape {crop.shape}, not uint8 {self._crop.shape}")
        np.copyto(self._crop, crop)
        return self._run(started)

    def _run(self, started: int) -> Prediction:
        """The prediction for what is in the crop's buffer; `started` in nanoseconds of `perf_counter_ns`."""
        measured = quality.measure(self._crop)
        self._fill_input()
        prepared = time.perf_counter_ns()
        self._interpreter.invoke()
        invoked = time.perf_counter_ns()
        probabilities = self._probabilities()
        verdict, reasons = judge(probabilities, measured, self._refer_below)
        timings_ms = {"preprocess": (prepared - started) / 1e6, "invoke": (invoked - prepared) / 1e6}
        return Prediction(verdict, probabilities, reasons, measured, timings_ms)

    def bare_invoke(self) -> None:
        """Run the network on what its input tensor holds, and nothing else: what the rest is measured by."""
        self._interpreter.invoke()

    def _fill_input(self) -> None:
        # A view of the interpreter's own memory, which must not outlive this function: invoke refuses
        # to run while one is held.
        tensor = self._interpreter.tensor(self._input_index)()[0]
        if self._table is None:
            np.bitwise_xor(self._crop, 0x80, out=tensor.view(np.uint8))
        else:
            np.take(self._table, self._crop, out=tensor, mode="clip")  # other modes buffer the output

    def _probabilities(self) -> dict[str, float]:
        quantised = self._interpreter.get_tensor(self._output_index)[0].tolist()
        scale, zero_point = self._output.scale, self._output.zero_point
        softmax = [scale * (q - zero_point) for q in quantised]
        return calibrate(softmax, self._labels, scale, self._temperature)


def is_shift(input_format: InputFormat) -> bool:
    """Whether quantising a pixel is p - 128, which as a byte is p with its highest bit flipped."""
    exact = _unrounded(input_format)
    return bool(np.abs(exact - (np.arange(256) - 128)).max() <= 0.5 - _ROUNDING_TOLERANCE)


def quantisation_table(input_format: InputFormat) -> npt.NDArray[np.int8]:
    """(256,) int8: the network's input value for every pixel value."""
    return np.clip(np.rint(_unrounded(input_format)), -128, 127).astype(np.int8)


def _unrounded(input_format: InputFormat) -> npt.NDArray[np.float64]:
    return np.array([input_format.quantised(pixel) for pixel in range(256)])


def calibrate(softmax: list[float], labels: list[str], step: float, temperature: float) -> dict[str, float]:
    """Temperature scaling (Guo et al. 2017) of a quantised softmax of two classes.

    Args:
        softmax: of each label; multiples of `step`, so 0 stands for anything under half a step.
        labels: two, in the same order.
        step: the output's scale.
        temperature: over 1 makes the probabilities less certain.

    Returns:
        Probability of each label, between `PROBABILITY_FLOOR` and 1 less that.
    """
    first, second = (math.log(max(p, step / 2)) / temperature for p in softmax)
    # exp of a difference this large would overflow, and the floor is reached long before.
    probability = 1 / (1 + math.exp(min(second - first, 700.0)))
    probability = min(max(probability, PROBABILITY_FLOOR), 1 - PROBABILITY_FLOOR)
    return {labels[0]: probability, labels[1]: 1 - probability}


def judge(
    probabilities: dict[str, float], measured: dict[str, float], refer_below: float
) -> tuple[Verdict, list[str]]:
    """The verdict, and why where it is "refer".

    Args:
        probabilities: of ALL and HEM; at a tie, ALL, whose miss costs more.
        measured: the quality figures of the crop.
        refer_below: probability of the likelier class under which the cell is referred.
    """
    reasons = quality.reasons(measured)
    likelier: Verdict = "ALL" if probabilities["ALL"] >= probabilities["HEM"] else "HEM"
    highest = probabilities[likelier]
    if highest < refer_below:
        reasons.append(f"unsure: {likelier} at {highest:.3f}, under {refer_below:g}")
    return ("refer" if reasons else likelier), reasons


def default_model() -> Path:
    """The model file where none is named: LEUKOSCOPE_MODEL, the source checkout's, or the installed one.

    Raises:
        InputError: there is none.
    """
    named = os.environ.get("LEUKOSCOPE_MODEL")
    if named:
        return Path(named)
    candidates = [Path(__file__).resolve().parent.parent / "models", INSTALLED_MODELS]
    for folder in candidates:
        if (folder / DEFAULT_MODEL).is_file():
            return folder / DEFAULT_MODEL
    places = " or ".join(str(folder) for folder in candidates)
    raise InputError(f"no model file: {DEFAULT_MODEL} is not in {places}; give one with --model FILE")
