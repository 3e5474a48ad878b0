"""Where a verdict comes from: the class activation map laid over the cell, as a picture to look at."""

import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import InputError, LeukoscopeError
from edge.imaging.files import shown
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import prepare
from edge.model.classifier import Classifier, Prediction
from edge.model.file import Manifest
from edge.notice import NOTICE

Evidence = npt.NDArray[np.float32]
"""(h, w) float32: what each position adds to the log-odds of the positive class beyond an empty field; below 0, to
those of the other class.

Even black says something, as a network has biases, and it says the same whatever the cell is. What is left
without it is of this cell. The mean over the positions is the log-odds less those of the empty field."""

_SIDE_PX = 448
"""Of the cell and of the overlay, whatever the network's input is."""

_STRIP_PX = 112
"""Below both, where there are no reasons; a line of reasons adds `_ROW_PX`."""
_ROW_PX = 25
_BAR_PX = 30
"""Of the scale of colours below the overlay."""
_LINE_CHARACTERS = 110
_MARGIN_PX = 12
_RED, _BLUE = (214, 47, 39), (44, 102, 196)  # RGB; told apart by colour-blind readers too
_STRONGEST = 0.65
"""Opacity where the evidence is strongest, so that the cell shows through."""


class Explainer:
    """Reads the activation map behind a classifier's last verdict.

    Attributes:
        empty: (h, w) float32, the log-odds of the positive class in an empty field.
        positive, negative: names of the two classes.

    Raises:
        InputError: the model has no activation map.
    """

    def __init__(self, classifier: Classifier, manifest: Manifest):
        self._classifier = classifier
        self._positive = manifest.labels.index(manifest.positive_label())
        self.positive, self.negative = manifest.positive_label(), manifest.negative_label()
        side = manifest.geometry.size
        classifier.classify_crop(np.zeros((side, side, 3), np.uint8))
        self.empty = self._log_odds()

    def evidence(self) -> Evidence:
        """Of the crop that the classifier judged last."""
        return self._log_odds() - self.empty

    def _log_odds(self) -> Evidence:
        maps = self._classifier.activation_map()
        if maps is None:
            raise InputError(
                "this model has no activation map, so nothing explains its verdicts; leukoscope export writes "
                "models with one"
            )
        return np.asarray(maps[..., self._positive] - maps[..., 1 - self._positive])


def picture(
    crop: Pixels,
    evidence: Evidence,
    prediction: Prediction,
    source: str,
    classes: tuple[str, str] = ("ALL", "HEM"),
) -> Pixels:
    """The cell, beside it the same cell under its evidence, below both the verdict.

    Args:
        crop: (S, S, 3) uint8 RGB, what the network saw.
        evidence: of `Explainer.evidence`.
        source: name of the image.
        classes: names of the positive and the negative class.

    Returns:
        (448 + 30 + 112, 2 · 448, 3) uint8 RGB, 25 rows more for each line of reasons.
    """
    cell = cv2.resize(crop, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_CUBIC)
    strongest = float(np.abs(evidence).max())
    share = evidence / strongest if strongest > 0 else evidence
    smooth = cv2.resize(share, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_LINEAR)
    overlay = _coloured(cell, smooth)
    bar = _bar(strongest, classes)
    return np.vstack([np.hstack([cell, overlay]), bar, _strip(prediction, source, classes)])


def _coloured(ground: npt.NDArray[Any], share: npt.NDArray[Any]) -> Pixels:
    """Red where a share of the strongest evidence, -1…1, is for the positive class, blue where it is for the other."""
    opacity = (np.abs(share) * _STRONGEST)[..., np.newaxis]
    colour = np.where(share[..., np.newaxis] > 0, _RED, _BLUE).astype(np.float32)
    mixed: Pixels = np.rint(ground * (1 - opacity) + colour * opacity).astype(np.uint8)
    return mixed


def _bar(strongest: float, classes: tuple[str, str]) -> Pixels:
    """The scale of the overlay's colours, in log-odds, below it."""
    bar = np.full((_BAR_PX, 2 * _SIDE_PX, 3), 255, np.uint8)
    left, right, top, bottom = _SIDE_PX + 140, 2 * _SIDE_PX - 140, 8, _BAR_PX - 6
    share = np.linspace(-1, 1, right - left, dtype=np.float32)[np.newaxis].repeat(bottom - top, axis=0)
    bar[top:bottom, left:right] = _coloured(np.full((*share.shape, 3), 128, np.uint8), share)
    positive, negative = (name[:10] for name in classes)
    text = _ascii(f"{negative} -{strongest:.1f}")
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    _put(bar, text, (left - _MARGIN_PX - width, bottom - 1), 0.45)
    _put(bar, f"+{strongest:.1f} {positive}", (right + _MARGIN_PX, bottom - 1), 0.45)
    return bar


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # the font has no others


def _put(picture: Pixels, text: str, at: tuple[int, int], size: float, weight: int = 1) -> None:
    cv2.putText(picture, _ascii(text), at, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), weight, cv2.LINE_AA)


class Explanations:
    """A folder of pictures, one for each image that a classifier judges.

    Raises:
        InputError: the model has no activation map.
        LeukoscopeError: the folder cannot be made.
    """

    def __init__(self, classifier: Classifier, manifest: Manifest, folder: Path):
        self._explainer, self._geometry = Explainer(classifier, manifest), manifest.geometry
        self._folder, self._names = folder, set[str]()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LeukoscopeError(f"{folder}: {error.strerror}; give --explain another folder") from error

    def write(self, image: Path, pixels: Pixels, prediction: Prediction) -> Path:
        """Explain the verdict that the classifier has just given on an image, (H, W, 3) uint8 RGB; see `write_crop`."""
        return self.write_crop(image, prepare(pixels, self._geometry), prediction)

    def write_crop(self, image: Path, crop: Pixels, prediction: Prediction, cell: int = 0) -> Path:
        """Explain the verdict that the classifier has just given on a crop.

        Args:
            image: the file it was given on; the picture is named after it, with a number where images of
                several folders have one name.
            crop: (S, S, 3) uint8 RGB, what the network saw.
            cell: its number in a field; 0 where the image is of one cell.

        Returns:
            The PNG.

        Raises:
            LeukoscopeError: it cannot be written.
        """
        evidence = self._explainer.evidence()
        classes = (self._explainer.positive, self._explainer.negative)
        source = f"{shown(image)}, cell {cell}" if cell else shown(image)
        drawn = picture(crop, evidence, prediction, source, classes)
        stem = f"{image.stem}-cell-{cell}" if cell else image.stem
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}-{number}"
        self._names.add(name)
        file = self._folder / f"{name}.png"
        _, encoded = cv2.imencode(".png", np.ascontiguousarray(drawn[..., ::-1]))
        try:
            file.write_bytes(encoded.tobytes())
        except OSError as error:
            raise LeukoscopeError(f"{file}: the picture cannot be written: {error.strerror}") from error
        return file


def _strip(prediction: Prediction, source: str, classes: tuple[str, str]) -> Pixels:
    """The text below both pictures."""
    likely = "   ".join(f"{label} {p:.3f}" for label, p in prediction.probabilities.items())
    reasons = textwrap.wrap("; ".join(prediction.reasons), _LINE_CHARACTERS)
    lines = [
        (0.8, 2, f"{prediction.verdict}   {likely}"),
        *((0.5, 1, reason) for reason in reasons),
        (
            0.45,
            1,
            f"red: evidence for {classes[0]}, blue: for {classes[1]}; log-odds at each place, compared with an empty field",
        ),
        (0.45, 1, source[-_LINE_CHARACTERS:]),
        (0.5, 1, f"{NOTICE.capitalize()}."),
    ]
    strip = np.full((_STRIP_PX + _ROW_PX * len(reasons), 2 * _SIDE_PX, 3), 255, np.uint8)
    for row, (size, weight, text) in enumerate(lines):
        _put(strip, text, (_MARGIN_PX, 30 + _ROW_PX * row), size, weight)
    return strip
