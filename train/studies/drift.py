"""Drift: the summary of what a model was made of, and how often a new patient of the same laboratory would raise alarm.

python -m train.studies.drift MODEL.tflite --data DIR [--write]

Prints the distances of windows of each patient's cells from the summary of all others, and the threshold above the
largest. --write puts the summary of all cells into the model file, whose hash changes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import LeukoscopeError
from edge.imaging.files import read_image
from edge.imaging.preprocess import prepare
from edge.model.classifier import Classifier
from edge.model.drift import LEAST, THRESHOLD, WINDOW, Summary, distance, summarise
from edge.model.file import ModelFile, read_model, write_model
from train.data.dataset import Cell, Data, data_root, scan, subject_group

CELLS = 2000
"""So many, drawn from all, are enough for two numbers a feature."""

WINDOWS = 5
"""Of each patient, drawn anew."""

Features = npt.NDArray[np.float32]


def features_of(model: ModelFile, root: Path, cells: Sequence[Cell]) -> Features | None:
    """(N, F) float32 of N cells; None if the model does not give its features."""
    if model.manifest.features() is None:
        return None
    classifier, found = Classifier(model), []
    for cell in cells:
        classifier.classify_crop(prepare(read_image(root / cell.path), model.manifest.geometry))
        found.append(classifier.features())
    return np.asarray(found, np.float32)


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
    features = features_of(read_model(file), data_root(data), drawn(cells))
    return None if features is None else summarise(features)


def distances(features: Features, patients: npt.NDArray[np.str_], seed: int = 0) -> dict[str, list[float]]:
    """Of each patient with enough cells, the distances of windows of them from the summary of all other patients."""
    rng, found = np.random.default_rng(seed), {}
    for patient in sorted(set(patients)):
        mine = np.flatnonzero(patients == patient)
        if len(mine) < LEAST or len(mine) == len(patients):
            continue
        others = summarise(features[patients != patient])
        windows = [features[rng.permutation(mine)[:WINDOW]].mean(axis=0) for _ in range(WINDOWS)]
        found[str(patient)] = [distance(others, window) for window in windows]
    return found


def main() -> int:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    try:
        model = read_model(options.model)
        cells = drawn(scan(options.data))
        features = features_of(model, data_root(options.data), cells)
        if features is None:
            raise LeukoscopeError(f"{options.model}: it does not give its features; export it anew")
        patients = np.array([subject_group(cell.subject) for cell in cells])
        found = distances(features, patients)
        values = np.array([value for each in found.values() for value in each])
        told: dict[str, object] = {
            "cells": len(cells),
            "patients": len(found),
            "windows": len(values),
            "median": round(float(np.median(values)), 3),
            "largest": round(float(values.max()), 3),
            "threshold": THRESHOLD,
            "false_alarms": int((values > THRESHOLD).sum()),
        }
        if options.write:
            manifest = msgspec.structs.replace(model.manifest, drift=summarise(features))
            told["sha256"] = write_model(options.model, model.flatbuffer, manifest, model.card).sha256
    except LeukoscopeError as error:
        print(f"drift: {error}", file=sys.stderr)
        return error.exit_status
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
