"""The classifier: a frame in, a verdict with its probabilities out."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.imaging import quality
from edge.imaging.balance import balanced
from edge.imaging.colours import Colours, colours, tone_table, toned
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import expect_rgb, prepare, with_crop
from edge.model.adaptation import Head
from edge.model.file import REFER, InputFormat, ModelFile, OutputFormat, open_model
from edge.model.file import make_interpreter as make_interpreter  # for the exporter, which reads tensors
from edge.model.interpreter import Positions

Verdict = str
"""A label of the model, or "refer"."""

LOW_CONFIDENCE = "low confidence"
"""So begins the reason of a cell that is referred for nothing else; see `is_sound`."""

PROBABILITY_FLOOR = 1e-6
"""No probability is reported nearer to 0 or 1: eight bits of output cannot carry such certainty."""

_ROUNDING_TOLERANCE = 1e-3
"""Quantised levels; nearer than this to a half, the 32-bit scale decides how it is rounded."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the classifier says about one frame.

    Attributes:
        verdict: the likelier class, or "refer" where a person should look.
        probabilities: of the model's two classes; together 1, never exactly 0 or 1.
        reasons: why the verdict is "refer"; empty otherwise.
        quality: see `edge.imaging.quality.measure`.
        timings_ms: "preprocess" (crop, resize, quality, into the input tensor) and "invoke".
        features: (F,) float32, what the network saw, pooled; None where it does not say.
        half: (size / 2, size / 2, 3) uint8 RGB, the crop as the camera shows it, for `colours`.
    """

    verdict: Verdict
    probabilities: dict[str, float]
    reasons: list[str]
    quality: dict[str, float]
    timings_ms: dict[str, float]
    features: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    half: Pixels | None = field(default=None, compare=False, repr=False)

    @property
    def colours(self) -> Colours | None:
        """See `edge.imaging.colours`, of the cell as the camera shows it; None where there is none. Made when asked for."""
        return None if self.half is None else colours(self.half)


class Classifier:
    """Runs one model file. Not for use by several threads at once: the tensors are shared.

    Args:
        threads: of the interpreter.
        refer_below: in place of the model file's own threshold, where given.
        crop_px: side of the square that is cut out, in place of the model file's own, where given.
        limits: of the quality gate.

    Raises:
        InputError: the model does not load, or is not what its manifest says.
        LeukoscopeError: no interpreter is installed.
    """

    def __init__(
        self,
        model: ModelFile,
        threads: int = 1,
        refer_below: float | None = None,
        crop_px: int | None = None,
        limits: quality.QualitySettings = quality.DEFAULT,
    ):
        manifest = model.manifest
        self._limits = limits
        self._geometry = with_crop(manifest.geometry, crop_px)
        self._labels = manifest.labels
        self._positive = manifest.positive_label()
        output = manifest.probabilities()
        self._logits = logits(output, manifest.temperature)
        self._refer_below = model.refer_below() if refer_below is None else refer_below
        self._interpreter = open_model(model, threads)
        self._input_index: int = self._interpreter.get_input_details()[0]["index"]
        outputs = self._interpreter.get_output_details()
        self._output_index: int = outputs[output.index]["index"]
        self._map = manifest.activation_map()
        self._map_index: int = outputs[self._map.index]["index"] if self._map else -1
        self._features = manifest.features()
        self._features_index: int = outputs[self._features.index]["index"] if self._features else -1
        self._head = None
        if model.adaptation is not None and self._features is not None:
            self._head = Head(model.adaptation, self._features.shape[1])
        self._positions: Positions | None = None
        self._flatbuffer, self._temperature = model.flatbuffer, manifest.temperature
        self._sign = 1 if self._positive == self._labels[0] else -1
        side = manifest.geometry.size
        self._crop_shape = (side, side, 3)
        self._input_tensor = self._interpreter.tensor(self._input_index)
        self._table = None if is_shift(manifest.input) else quantisation_table(manifest.input)
        self._cell_mean = manifest.input.cell_mean
        tone = model.adaptation.tone if model.adaptation is not None else None
        self._tone = tone_table(tone) if tone else None

    def classify(self, pixels: Pixels) -> Prediction:
        """Crop, resize, run and judge one frame.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Raises:
            InputError: the frame is not (H, W, 3) uint8.
        """
        started = time.perf_counter_ns()
        # Straight into the interpreter's own memory. It refuses to run while a view of that is held, be it by
        # the traceback of an error that somebody keeps.
        expect_rgb(pixels)
        crop = self._input_pixels()
        prepare(pixels, self._geometry, out=crop)
        measured, half = self._measure_and_quantise(crop)
        del crop
        return self._run(started, measured, half)

    def classify_crop(self, crop: Pixels) -> Prediction:
        """Run and judge a crop that `edge.imaging.preprocess.prepare` has made with the model's geometry.

        Args:
            crop: (size, size, 3) uint8 RGB.

        Raises:
            InputError: it has another shape or type.
        """
        started = time.perf_counter_ns()
        if crop.shape != self._crop_shape or crop.dtype != np.uint8:
            raise InputError(f"the crop is {crop.dtype} of shape {crop.shape}, not uint8 {self._crop_shape}")
        pixels = self._input_pixels()
        np.copyto(pixels, crop)
        measured, half = self._measure_and_quantise(pixels)
        del pixels
        return self._run(started, measured, half)

    def _run(self, started: int, measured: dict[str, float], half: Pixels) -> Prediction:
        """The prediction for what is in the input tensor; `started` in nanoseconds of `perf_counter_ns`."""
        prepared = time.perf_counter_ns()
        self._interpreter.invoke()
        invoked = time.perf_counter_ns()
        features = self.features()
        probabilities = self._probabilities(features)
        verdict, reasons = judge(
            probabilities, measured, self._refer_below, self._limits, positive=self._positive
        )
        timings_ms = {"preprocess": (prepared - started) / 1e6, "invoke": (invoked - prepared) / 1e6}
        return Prediction(verdict, probabilities, reasons, measured, timings_ms, features, half)

    def activation_map(self) -> npt.NDArray[np.float32] | None:
        """Where the last verdict comes from; None where the network does not say.

        Returns:
            (h, w, 2) float32: each position's share of the logits, in the order of the model's labels.
        """
        if self._map is None:
            return None
        quantised = self._interpreter.get_tensor(self._map_index)[0].astype(np.float32)
        maps = np.asarray((quantised - self._map.zero_point) * np.float32(self._map.scale))
        return maps if self._head is None else self._own_map(self._head, maps)

    def _own_map(self, head: Head, maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The map of an adapted model, half of each position's log-odds to either class.

        The kernels that keep every tensor round otherwise than the fast ones; what that moves the log-odds by is
        spread evenly, so that the mean is that of the verdict.
        """
        if self._positions is None and self._features is not None:
            self._positions = Positions(self._flatbuffer, self._features.index)
        assert self._positions is not None
        features = self._positions.features(self._interpreter.get_tensor(self._input_index))
        base = self._sign * (maps[..., 0] - maps[..., 1]) / np.float32(self._temperature)
        half = self._sign * head.evidence(features, base) / 2
        pooled = self.features()
        assert pooled is not None
        half += self._own_log_odds(head, pooled) / 2 - half.mean()
        return np.stack([half, -half], axis=-1)

    def features(self) -> npt.NDArray[np.float32] | None:
        """What the network saw in the last cell, pooled over the picture; None where it does not say.

        Returns:
            (number of features,) float32, the mean of each over all positions; 0 or more.
        """
        if self._features is None:
            return None
        quantised = self._interpreter.get_tensor(self._features_index)[0].astype(np.float32)
        return np.asarray((quantised - self._features.zero_point) * np.float32(self._features.scale))

    def bare_invoke(self) -> None:
        """Run the network on what its input tensor holds, and nothing else: what the rest is measured by."""
        self._interpreter.invoke()

    def multiply_adds(self) -> int:
        """Of the convolutions for one image."""
        shapes = {t["index"]: t["shape"] for t in self._interpreter.get_tensor_details()}
        total = 0
        for operator in self._interpreter._get_ops_details():
            if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                # (out, h, w, in) or (1, h, w, channels): the multiply-adds of one output value
                kernel = shapes[operator["inputs"][1]]
                each = kernel[1:].prod() if operator["op_name"] == "CONV_2D" else kernel[1:3].prod()
                total += int(shapes[operator["outputs"][0]].prod() * each)
        return total

    def _input_pixels(self) -> Pixels:
        """A view of the input tensor's bytes, (size, size, 3) uint8."""
        return self._input_tensor()[0].view(np.uint8)  # type: ignore[no-any-return]

    def _measure_and_quantise(self, crop: Pixels) -> tuple[dict[str, float], Pixels]:
        """Quality and half of the crop, whose pixels then become quantised values in their place."""
        shown = half = quality.halved(crop)
        measured = quality.measure(crop, half)
        if self._tone is not None:
            toned(crop, self._tone, crop)
            half = quality.halved(crop)
        balanced(crop, self._cell_mean, crop, half)
        if self._table is None:
            np.bitwise_xor(crop, 0x80, out=crop)
        else:
            cv2.LUT(crop, self._table.view(np.uint8), dst=crop)
        return measured, shown

    def _probabilities(self, features: npt.NDArray[np.float32] | None) -> dict[str, float]:
        """Of the two classes; the positive one stands first, so that a record tells which it is."""
        if self._head is not None and features is not None:
            first, second = self._own_log_odds(self._head, features), 0.0
        else:
            first, second = self._base_logits()
        found = _two(first, second, self._labels)
        return found if self._labels[0] == self._positive else dict(reversed(found.items()))

    def _base_logits(self) -> tuple[float, float]:
        """Of both labels, by the network's own last layer."""
        first, second = self._interpreter.get_tensor(self._output_index)[0].tolist()
        return self._logits[first + 128], self._logits[second + 128]

    def _own_log_odds(self, head: Head, features: npt.NDArray[np.float32]) -> float:
        """Of the first label against the second, by an adapted model's layer."""
        first, second = self._base_logits()
        return self._sign * head.log_odds(features, self._sign * (first - second))


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
    first, second = (_logit(p, step, temperature) for p in softmax)
    return _two(first, second, labels)


def logits(output: OutputFormat, temperature: float) -> list[float]:
    """256: what each quantised output value from -128 up is, as a logit divided by the temperature."""
    scale, zero_point = output.scale, output.zero_point
    return [_logit(scale * (q - zero_point), scale, temperature) for q in range(-128, 128)]


def _logit(probability: float, step: float, temperature: float) -> float:
    return math.log(max(probability, step / 2)) / temperature


def _two(first: float, second: float, labels: list[str]) -> dict[str, float]:
    """The softmax of two logits, under their labels."""
    # exp of a difference this large would overflow, and the floor is reached long before.
    probability = 1 / (1 + math.exp(min(second - first, 700.0)))
    probability = min(max(probability, PROBABILITY_FLOOR), 1 - PROBABILITY_FLOOR)
    return {labels[0]: probability, labels[1]: 1 - probability}


def judge(
    probabilities: dict[str, float],
    measured: dict[str, float],
    refer_below: float,
    limits: quality.QualitySettings = quality.DEFAULT,
    *,
    positive: str = "ALL",
) -> tuple[Verdict, list[str]]:
    """The verdict, and the reasons if it is "refer".

    Args:
        probabilities: of the two classes; at a tie, the positive one, whose miss costs more.
        measured: the quality figures of the crop.
        refer_below: probability of the likelier class under which the cell is referred.
        limits: of the quality gate.
        positive: the name of the positive class.
    """
    reasons = quality.reasons(measured, limits)
    likelier: Verdict = positive
    for label, probability in probabilities.items():
        if probability > probabilities[positive]:
            likelier = label
    highest = probabilities[likelier]
    if highest < refer_below:
        reasons.append(f"{LOW_CONFIDENCE}: {likelier} {highest:.2f} (limit {refer_below:g})")
    return (REFER if reasons else likelier), reasons


def is_sound(reasons: Sequence[str]) -> bool:
    """Whether a cell is in focus, well lit and of the kind that the model knows: it is referred for low confidence at most."""
    return not reasons or reasons[0].startswith(LOW_CONFIDENCE)
