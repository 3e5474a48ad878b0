"""Whole fields: every white cell found, cut out, told by its kind and judged."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edge.errors import InputError
from edge.imaging.field import fieldquality
from edge.imaging.field.cells import Cell
from edge.imaging.field.cutout import area_px, blackened, cut_out
from edge.imaging.field.lamp import find_lamp, small_look
from edge.imaging.field.outline import Mask
from edge.imaging.field.resize import Halves
from edge.imaging.field.ruler import MIN_CELL_PX, RANGE_PX, Ruler, model_red_cell_px
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import expect_rgb
from edge.model.classifier import Classifier, Prediction
from edge.model.file import ModelFile
from edge.model.finder import CellFinder
from edge.model.network import Network, read_network, shipped_network

Kind = Literal["lymphoid", "other", "unclear"]

KIND_SIDE_PX = 80
KIND_CELL_PX = 55.0
"""Before its kind is asked every cell is made so wide (the circle of its area): its size must not be a cue."""


@dataclass(frozen=True, slots=True)
class JudgedCell:
    """One white cell of a field and what is said of it.

    Attributes:
        cell: where it is, and its outline.
        kind: None where the cell was not asked about.
        other: logit of "not lymphoid"; NaN where the cell was not asked about.
        prediction: verdict, probabilities, reasons, quality, times.
        crop: (size, size, 3) uint8 RGB, what the classifier saw.
    """

    cell: Cell
    kind: Kind | None
    other: float
    prediction: Prediction
    crop: Pixels

    @property
    def box_px(self) -> list[int]:
        """Left, top, width and height, whole pixels of the field."""
        left, top, width, height = self.cell.box
        return [round(left), round(top), max(1, round(width)), max(1, round(height))]


@dataclass(frozen=True, slots=True)
class JudgedField:
    """What is said of a whole field.

    Attributes:
        cells: the surest first.
        red_cell_px: width of a red cell, pixels of the field; 0 where nothing was looked for.
        scale: how many times as large a cell is in the field as in the images of the training.
        reasons: why no cell could be found.
        timings_ms: "lamp", "ruler", "find", "cut", "kind", "classes" and "total".
    """

    cells: list[JudgedCell]
    red_cell_px: float
    scale: float
    reasons: list[str]
    timings_ms: dict[str, float]


class KindGate:
    """Tells lymphoid cells from others; what is in between is unclear."""

    def __init__(self, network: Network):
        thresholds = network.manifest.thresholds
        try:
            self._lymphoid_below, self._other_above = thresholds["lymphoid_below"], thresholds["other_above"]
        except KeyError as error:
            raise InputError(f"network {network.manifest.name}: no threshold {error}") from error
        self._network = network

    def ask(self, pictures: list[Pixels]) -> list[tuple[Kind, float]]:
        """Kind and logit of "other" of each picture, (80, 80, 3) uint8 RGB as `kind_picture` makes them."""
        told: list[tuple[Kind, float]] = []
        for picture in pictures:  # one by one: a batch of another size would be allocated anew each time
            logit = float(self._network.run(picture[None]).ravel()[0])
            kind: Kind = "unclear"
            if logit < self._lymphoid_below:
                kind = "lymphoid"
            elif logit > self._other_above:
                kind = "other"
            told.append((kind, logit))
        return told


def kind_picture(crop: Pixels, mask: Mask) -> Pixels:
    """A cell for the gate: on black, centred, always of the same size; (80, 80, 3) uint8 RGB."""
    moments = cv2.moments(mask)
    area = max(1.0, moments["m00"])
    factor = KIND_CELL_PX / np.sqrt(area * 4 / np.pi)
    x, y = moments["m10"] / area, moments["m01"] / area
    middle = KIND_SIDE_PX / 2 - 0.5
    matrix = np.array([[factor, 0, middle - x * factor], [0, factor, middle - y * factor]])
    # With four channels: the same pixels in two thirds of the time.
    black = cv2.cvtColor(blackened(crop, mask), cv2.COLOR_RGB2RGBA)
    even = cv2.warpAffine(black, matrix, (KIND_SIDE_PX, KIND_SIDE_PX), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(even, cv2.COLOR_RGBA2RGB)  # type: ignore[return-value]


class FieldClassifier:
    """Judges whole fields. Not for use by several threads at once: the tensors are shared.

    Args:
        model: the classifier's file; its geometry and its scale hold.
        classifier: made from it.
        finder, gate: None for those that ship.
        microns_per_pixel: of the fields; 0 where the red cells have to tell.
        threads: of the small networks.

    Raises:
        InputError: a network is missing or does not load.
    """

    def __init__(
        self,
        model: ModelFile,
        classifier: Classifier,
        finder: Path | None = None,
        gate: Path | None = None,
        microns_per_pixel: float = 0.0,
        threads: int = 1,
    ):
        self._classifier = classifier
        self._geometry = model.manifest.geometry
        self._model_red_px = model_red_cell_px(model.manifest.microns_per_pixel)
        self._finder = CellFinder(read_network(finder or shipped_network("cells"), "cells"), threads)
        self._gate = KindGate(Network(read_network(gate or shipped_network("kind"), "kind"), threads))
        self._ruler = Ruler(microns_per_pixel)
        # Of a cell that the classifier was not asked about every class is as likely.
        self._unknown = dict.fromkeys(model.manifest.classes(), 0.5)

    def judge(self, field: Pixels, specimen: str = "") -> JudgedField:
        """Find and judge every white cell of a field.

        Args:
            field: (H, W, 3) uint8 RGB.
            specimen: whose ruler holds; "" and a new one for each source that stands alone.

        Raises:
            InputError: the field is not (H, W, 3) uint8.
        """
        expect_rgb(field)
        watch = _Watch()
        halves = Halves(field)
        look = small_look(halves)
        reasons = fieldquality.reasons(look)
        if reasons:
            return JudgedField([], 0.0, 0.0, reasons, watch.times_ms())
        lamp = find_lamp(field, look)
        watch.note("lamp")
        ruler = self._ruler
        seen = self._finder.look(halves, lamp, ruler.known_px(specimen))
        red_px = ruler.fixed_px or ruler.measured(seen.red_px, specimen)
        scale = red_px / self._model_red_px
        watch.note("ruler")
        found = self._finder.find(halves, lamp, seen, red_px)
        watch.note("find")
        side_px = self._geometry.crop * scale
        cuts = [cut_out(field, lamp, cell, side_px, self._geometry.size) for cell in found]
        watch.note("cut")
        asked = [n for n, cell in enumerate(found) if _width_px(cell) >= MIN_CELL_PX]
        told = self._gate.ask([kind_picture(cuts[n][0], cuts[n][2]) for n in asked])
        kinds: dict[int, tuple[Kind, float]] = dict(zip(asked, told, strict=True))
        watch.note("kind")
        cells = [
            self._judged(cell, cut[0], cut[1], kinds.get(number))
            for number, (cell, cut) in enumerate(zip(found, cuts, strict=True))
        ]
        watch.note("classes")
        return JudgedField(cells, red_px, scale, _field_reasons(found, red_px), watch.times_ms())

    def use(self, classifier: Classifier) -> None:
        """From now on judge by another classifier of the same geometry and scale."""
        self._classifier = classifier

    def forget(self) -> None:
        """The next field is of another specimen or source: its ruler begins anew."""
        self._ruler.forget()

    def _not_asked(self, reason: str) -> Prediction:
        return Prediction("refer", dict(self._unknown), [reason], {}, {"preprocess": 0.0, "invoke": 0.0})

    def _judged(self, cell: Cell, crop: Pixels, mask: Mask, told: tuple[Kind, float] | None) -> JudgedCell:
        black = blackened(crop, mask)
        if told is None:
            reason = f"too small to judge: {_width_px(cell):.0f} px wide, under {MIN_CELL_PX:.0f}"
            return JudgedCell(cell, None, float("nan"), self._not_asked(reason), black)
        kind, logit = told
        if kind == "other":
            return JudgedCell(cell, kind, logit, self._not_asked("not lymphoid: another kind of cell"), black)
        prediction = self._classifier.classify_crop(black)
        sharpness = fieldquality.sharpness(crop, self._geometry.crop)
        prediction = replace(prediction, quality={**prediction.quality, "sharpness": round(sharpness, 4)})
        reasons = list(prediction.reasons)
        if sharpness < fieldquality.MIN_SHARPNESS:
            reasons.append(f"out of focus: sharpness {sharpness:.2f}, under {fieldquality.MIN_SHARPNESS:g}")
        if kind == "unclear":
            reasons.insert(0, "kind unclear: perhaps not lymphoid")
        if cell.at_edge:
            reasons.insert(0, "cut by the border of the field")
        if reasons:
            prediction = replace(prediction, verdict="refer", reasons=reasons)
        return JudgedCell(cell, kind, logit, prediction, black)


def _width_px(cell: Cell) -> float:
    """Diameter of the circle of a cell's area, pixels of the field."""
    return float(np.sqrt(area_px(cell) * 4 / np.pi))


def _field_reasons(cells: list[Cell], red_px: float) -> list[str]:
    if not RANGE_PX[0] <= red_px <= RANGE_PX[1]:
        return [f"wrong scale: red cells seem {red_px:.0f} px wide; set [camera] microns_per_pixel"]
    return [] if cells else ["no white cell in the field"]


class _Watch:
    """Milliseconds between notes."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter_ns()
        self._times: dict[str, float] = {}

    def note(self, stage: str) -> None:
        now = time.perf_counter_ns()
        self._times[stage] = (now - self._last) / 1e6
        self._last = now

    def times_ms(self) -> dict[str, float]:
        return {**self._times, "total": (time.perf_counter_ns() - self._started) / 1e6}
