"""C-NMC cells on real fields, where the truth is known: is the verdict on the cut-out that on the original, and does
the lamp change it?

    python -m train.fields.studies.pasted --data ../shared [--model FILE] [--cells 300]

A cell is pasted at the scale of the field's red cells and under the field's lamp ("lamp"), or with its own pixels
as they are ("raw"), away from the field's own white cells.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.imaging.field.lamp import WHITE_LEVELS
from edge.imaging.field.ruler import model_red_cell_px
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier, Prediction
from edge.model.fields import FieldClassifier, JudgedCell, JudgedField
from edge.model.file import read_model
from edge.model.installed import find_model
from train.fields.folders import Folders
from train.fields.labelled import Box, side_of
from train.fields.pasting import SETS, on_field

TRIES = 60
KELVIN = 6500


@dataclass
class Pasted:
    """A field with a cell pasted on it: the picture, the cell's box in it, its verdict as a single cell."""

    picture: Pixels
    box: Box
    original: Prediction
    name: str


def pasted(
    folders: Folders, classifier: Classifier, model_red_px: float, count: int, mode: str
) -> Iterator[Pasted]:
    """`count` cells, evenly over those of C-NMC, on the validation fields of three sets in turn."""
    assert folders.cells is not None
    files = sorted((folders.cells / "training_data").rglob("*.png"))
    files = files[:: max(1, len(files) // count)][:count]
    fields = [f for f in side_of(folders.listed(), "validation") if f.set in SETS]
    random = np.random.default_rng(0)
    for file in files:
        cell = read_image(file)
        original = classifier.classify(cell)
        for _ in range(TRIES):
            made = on_field(cell, fields[int(random.integers(len(fields)))], model_red_px, mode, random)
            if made is not None:
                yield Pasted(*made, original, file.name)
                break


def alterations() -> dict[str, Callable[[Pixels], Pixels]]:
    """What a lamp or a white balance does to a field: colour temperature, channels, brightness, a gradient."""
    return {
        "+500 K": lambda p: _times(p, *_kelvin(500)),
        "-500 K": lambda p: _times(p, *_kelvin(-500)),
        "red +5 %, blue -5 %": lambda p: _times(p, 1.05, 1, 0.95),
        "red -5 %, blue +5 %": lambda p: _times(p, 0.95, 1, 1.05),
        "green +5 %": lambda p: _times(p, 1, 1.05, 1),
        "brightness -15 %": lambda p: _times(p, 0.85, 0.85, 0.85),
        "brightness +15 %": lambda p: _times(p, 1.15, 1.15, 1.15),
        "gradient 20 %": _gradient,
    }


def _times(picture: Pixels, red: float, green: float, blue: float) -> Pixels:
    return _levels(picture * np.array((red, green, blue)))


def _levels(lit: npt.NDArray[np.float64]) -> Pixels:
    levels: Pixels = np.clip(lit + 0.5, 0, 255).astype(np.uint8)
    return levels


def _gradient(picture: Pixels) -> Pixels:
    slope = np.linspace(0.8, 1.0, picture.shape[1])[None, :, None]
    return _levels(picture * slope)


def _kelvin(change: float) -> tuple[float, float, float]:
    """Gains of red, green and blue for a black body that is this much warmer, green fixed: Planck's law at 600, 540,
    450 nm."""
    second = 0.014388
    waves = np.array((600e-9, 540e-9, 450e-9))
    before, after = (1 / (np.exp(second / (waves * t)) - 1) for t in (KELVIN, KELVIN + change))
    gains = after / before
    return tuple(float(g) for g in gains / gains[1])  # type: ignore[return-value]


def found_in(judged: JudgedField, box: Box) -> JudgedCell | None:
    """The judged cell whose centre lies in the box."""
    for cell in judged.cells:
        x, y = cell.cell.centre
        if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
            return cell
    return None


def likelier(prediction: Prediction) -> str:
    """ALL or HEM, whatever the reasons to refer."""
    return max(prediction.probabilities, key=lambda name: prediction.probabilities[name])


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="FILE")
    parser.add_argument("--cells", type=int, default=300, metavar="N")
    parser.add_argument("--modes", nargs="+", default=["lamp", "raw"], choices=("lamp", "raw"))
    options = parser.parse_args()
    folders = Folders.below(options.data)
    model = read_model(find_model(options.model))
    classifier = Classifier(model)
    fields = FieldClassifier(model, classifier)
    for mode in options.modes:
        print(
            json.dumps(
                {
                    "model": model.manifest.name,
                    "mode": mode,
                    **study(
                        folders, classifier, fields, model.manifest.microns_per_pixel, options.cells, mode
                    ),
                }
            ),
            flush=True,
        )


def study(
    folders: Folders, classifier: Classifier, fields: FieldClassifier, microns: float, count: int, mode: str
) -> dict[str, Any]:
    """Agreement with the original, kinds, and agreement of altered with unaltered fields."""
    tally: dict[str, Any] = {"cells": 0, "found": 0, "same_class": 0, "same_verdict": 0, "kinds": {}}
    altered: dict[str, list[bool]] = {name: [] for name in alterations()}
    off: list[float] = []
    for one in pasted(folders, classifier, model_red_cell_px(microns), count, mode):
        tally["cells"] += 1
        cell = _judged(fields, one.picture, one.box)
        if cell is None:
            continue
        tally["found"] += 1
        tally["kinds"][str(cell.kind)] = tally["kinds"].get(str(cell.kind), 0) + 1
        prediction = classifier.classify_crop(cell.crop)
        tally["same_class"] += likelier(prediction) == likelier(one.original)
        tally["same_verdict"] += prediction.verdict == one.original.verdict
        off.append(abs(prediction.probabilities["ALL"] - one.original.probabilities["ALL"]))
        for name, change in alterations().items():
            again = _judged(fields, change(one.picture), one.box)
            same = again is not None and likelier(classifier.classify_crop(again.crop)) == likelier(
                prediction
            )
            altered[name].append(same)
    shares = {name: round(float(np.mean(same)), 4) for name, same in altered.items()}
    return {
        **tally,
        "class_agrees": round(tally["same_class"] / max(1, tally["found"]), 4),
        "verdict_agrees": round(tally["same_verdict"] / max(1, tally["found"]), 4),
        "probability_off_mean": round(float(np.mean(off)), 4),
        "altered": shares,
        "altered_mean": round(float(np.mean(list(shares.values()))), 4),
        "white_levels": WHITE_LEVELS,
    }


def _judged(fields: FieldClassifier, picture: Pixels, box: Box) -> JudgedCell | None:
    fields.forget()
    return found_in(fields.judge(picture), box)


if __name__ == "__main__":
    main()
