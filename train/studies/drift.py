"""Drift: the summary of what a model was made of, how often a new patient of the same laboratory would raise alarm, and
what is noticed.

python -m train.studies.drift MODEL.tflite --data DIR... [--seen] [--write]

Prints the distances of windows of each patient's cells from the summary of all others, by the features and by the colour
figures, and the thresholds above the largest. --seen shows the same windows through other light, stain and lens, and counts
the alarms. --write puts the summary of all cells into the model file, whose hash changes; its network stays as it is.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import LeukoscopeError
from edge.imaging.colours import FIGURES
from edge.imaging.files import read_image
from edge.imaging.preprocess import prepare
from edge.model.classifier import Classifier
from edge.model.drift import (
    COLOUR_THRESHOLD,
    LEAST,
    THRESHOLD,
    WINDOW,
    Summary,
    colour_distances,
    distance,
    summarise,
)
from edge.model.file import ModelFile, read_model, write_model
from train.data.dataset import Cell, Data, data_root, load, subject_group
from train.evaluate.camera import CLEAN, Condition, blurred, toned
from train.studies.laboratory import OTHER, stained

_UNKNOWN = np.full(len(FIGURES), np.nan, np.float32)
"""Of a cell that has no colour figures."""

CELLS = 2000
"""So many, drawn from all, are enough for two numbers a figure."""

WINDOWS = 5
"""Of each patient, drawn anew."""

SEEN = (
    Condition("red +5 %, blue -5 %", toned(factors=(1.05, 1.0, 0.95))),
    Condition("red -5 %, blue +5 %", toned(factors=(0.95, 1.0, 1.05))),
    Condition("red +10 %, blue -10 %", toned(factors=(1.1, 1.0, 0.9))),
    Condition("red -10 %, blue +10 %", toned(factors=(0.9, 1.0, 1.1))),
    Condition("brightness 0.9", toned(factors=(0.9, 0.9, 0.9))),
    Condition("another stain, half as far", stained((0.85, 1.07, 1.2))),
    Condition("another stain", stained((0.70, 1.15, 1.45))),
    Condition("blur 1.5 px", blurred(1.5)),
    Condition("blur 3 px", blurred(3.0)),
    Condition(OTHER.name, OTHER.change),
)
"""What is tried; the stains are those of `train.studies.laboratory`."""


class Shown(NamedTuple):
    """What N cells show: features (N, F) float32, and colour figures (N, 6) float32, NaN where a cell has none."""

    features: npt.NDArray[np.float32]
    colours: npt.NDArray[np.float32]

    def summary(self, rows: npt.NDArray[np.bool_] | None = None) -> Summary:
        """Of some of them, or of all."""
        every = np.ones(len(self.features), bool) if rows is None else rows
        known = every & np.isfinite(self.colours).all(axis=1)
        return summarise(self.features[every], self.colours[known])


class Distances(NamedTuple):
    """Of windows: by the features, and by the colour figures."""

    features: npt.NDArray[np.float64]
    colours: npt.NDArray[np.float64]

    def alarms(self) -> npt.NDArray[np.bool_]:
        """Which of them would be told."""
        return np.asarray((self.features > THRESHOLD) | (self.colours > COLOUR_THRESHOLD))


def shown_of(
    model: ModelFile, root: Path, cells: Sequence[Cell], conditions: Sequence[Condition] = (Condition(CLEAN),)
) -> list[Shown] | None:
    """Under each condition; None if the model does not give its features."""
    if model.manifest.features() is None:
        return None
    classifier = Classifier(model)
    found: list[list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]] = [[] for _ in conditions]
    for cell in cells:
        picture = read_image(root / cell.path)
        for condition, each in zip(conditions, found, strict=True):
            changed = condition.change(picture) if condition.change else picture
            told = classifier.classify_crop(prepare(changed, model.manifest.geometry))
            assert told.features is not None
            figures = told.colours
            each.append((told.features, _UNKNOWN if figures is None else figures))
    return [Shown(*(np.asarray(part, np.float32) for part in zip(*each, strict=True))) for each in found]


def drawn(cells: Sequence[Cell], seed: int = 0) -> list[Cell]:
    """At most CELLS of them."""
    if len(cells) <= CELLS:
        return list(cells)
    rows = np.random.default_rng(seed).permutation(len(cells))[:CELLS]
    return [cells[row] for row in sorted(rows)]


def summary_of(file: Path, data: Data, cells: Sequence[Cell]) -> Summary | None:
    """The summary for a model file; None if it does not give its features.

    Args:
        file: the model.
        data: its data set.
        cells: those that trained it.
    """
    shown = shown_of(read_model(file), data_root(data), drawn(cells))
    return None if shown is None else shown[0].summary()


def distances(own: Shown, patients: npt.NDArray[np.str_], seen: Shown, seed: int = 0) -> dict[str, Distances]:
    """Of each patient with enough cells, how far windows of them are from the summary of all other patients.

    Args:
        own: the cells as the laboratory shows them: of these the summaries are.
        patients: (N,) of the cells.
        seen: the same cells as they are shown to the box.
    """
    rng, found = np.random.default_rng(seed), {}
    for patient in sorted(set(patients)):
        mine = np.flatnonzero(patients == patient)
        if len(mine) < LEAST or len(mine) == len(patients):
            continue
        others = own.summary(patients != patient)
        windows = [rng.permutation(mine)[:WINDOW] for _ in range(WINDOWS)]
        found[str(patient)] = Distances(
            np.array([distance(others, seen.features[window].mean(axis=0)) for window in windows]),
            np.array(
                [
                    colour_distances(others, np.nanmean(seen.colours[window], axis=0)).max()
                    for window in windows
                ]
            ),
        )
    return found


def together(found: dict[str, Distances]) -> Distances:
    """Of all patients."""
    return Distances(*(np.concatenate(part) for part in zip(*found.values(), strict=True)))


def main() -> int:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--seen", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    try:
        model, data = read_model(options.model), load(options.data)
        cells = drawn(data.cells)
        conditions = (Condition(CLEAN), *(SEEN if options.seen else ()))
        shown = shown_of(model, data_root(data), cells, conditions)
        if shown is None:
            raise LeukoscopeError(f"{options.model}: it does not give its features; export it anew")
        patients = np.array([subject_group(cell.subject) for cell in cells])
        found = distances(shown[0], patients, shown[0])
        own = together(found)
        told: dict[str, object] = {
            "cells": len(cells),
            "patients": len(found),
            "windows": len(own.features),
            "features": _told(own.features, THRESHOLD),
            "colours": _told(own.colours, COLOUR_THRESHOLD),
            "false_alarms": int(own.alarms().sum()),
        }
        for condition, each in zip(conditions[1:], shown[1:], strict=True):
            windows = together(distances(shown[0], patients, each))
            told[condition.name] = {
                "alarms": round(float(windows.alarms().mean()), 3),
                "features": round(float(np.median(windows.features)), 3),
                "colours": round(float(np.median(windows.colours)), 3),
            }
        if options.write:
            manifest = msgspec.structs.replace(model.manifest, drift=shown[0].summary())
            told["sha256"] = write_model(options.model, model.flatbuffer, manifest, model.card).sha256
    except LeukoscopeError as error:
        print(f"drift: {error}", file=sys.stderr)
        return error.exit_status
    print(json.dumps(told, indent=1))
    return 0


def _told(values: npt.NDArray[np.float64], threshold: float) -> dict[str, float]:
    return {
        "median": round(float(np.median(values)), 3),
        "largest": round(float(values.max()), 3),
        "threshold": threshold,
    }


if __name__ == "__main__":
    raise SystemExit(main())
