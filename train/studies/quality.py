"""The limits of the quality gate, from real cells that are blurred, darkened, brightened and moved away.

    python -m train.studies.quality ../shared/cnmc --smears ../shared/smears --out docs/figures/quality.png

Prints a table and draws the curves of docs/cameras.md. Which model is asked changes only the agreement.
"""

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # our own annotations

import cv2
import numpy as np

from edge.imaging.files import find_images, read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import prepare, with_crop
from edge.imaging.quality import DEFAULT, measure, reasons
from edge.model.classifier import Classifier
from edge.model.file import read_model
from edge.model.installed import default_model

BLUR_SIGMAS_PX = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
"""Of a Gaussian, pixels of the C-NMC image: a cell of it is about 200 px wide."""

EXPOSURES = (0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0)
"""Factors on the light; a pixel is cut at 255."""

EMPTY_CROP_PX = 200
"""Of places in smears that hold no white cell: as large there as a crop around one would be."""

SEED = 0


def blurred(cell: Pixels, sigma_px: float) -> Pixels:
    """The cell out of focus."""
    return cv2.GaussianBlur(cell, (0, 0), sigma_px) if sigma_px else cell  # type: ignore[return-value]


def exposed(cell: Pixels, factor: float) -> Pixels:
    """The cell in more or less light."""
    return cv2.convertScaleAbs(cell, alpha=factor)  # type: ignore[return-value]


def sweep(
    cells: list[Pixels], classifier: Classifier, change: Callable[[Pixels, float], Pixels], steps: Any
) -> list[dict[str, float]]:
    """For each step: the figures' 1st, 50th and 99th percentiles, the share referred, the share whose class
    is still that of the unchanged cell."""
    unchanged = [likelier(classifier, cell) for cell in cells]
    rows = []
    for step in steps:
        figures: dict[str, list[float]] = {}
        referred = same = 0
        for cell, before in zip(cells, unchanged, strict=True):
            prediction = classifier.classify(change(cell, step))
            for name, value in prediction.quality.items():
                figures.setdefault(name, []).append(value)
            referred += bool(reasons(prediction.quality))
            same += _likelier(prediction.probabilities) == before
        row: dict[str, float] = {
            "step": step,
            "referred": referred / len(cells),
            "same_class": same / len(cells),
        }
        for name, values in figures.items():
            row |= {
                f"{name}_p{p}": round(float(v), 4)
                for p, v in zip((1, 50, 99), np.percentile(values, (1, 50, 99)))
            }
        rows.append(row)
    return rows


def likelier(classifier: Classifier, cell: Pixels) -> str:
    """The likelier class, whatever the gate says."""
    return _likelier(classifier.classify(cell).probabilities)


def _likelier(probabilities: dict[str, float]) -> str:
    return max(probabilities, key=lambda label: probabilities[label])


def white_cells(annotation: Path) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of each white cell, from a Pascal VOC file."""
    boxes = []
    for thing in ElementTree.parse(annotation).getroot().iter("object"):  # noqa: S314
        if thing.findtext("name") == "WBC":
            left, top, right, bottom = (
                int(thing.findtext(f"bndbox/{key}") or 0) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            boxes.append((left, top, right, bottom))
    return boxes


def empty_places(smears: Path, size: int) -> list[Pixels]:
    """Crops of smears, (size, size, 3), with red cells and background, away from every white cell."""
    rng, places = random.Random(SEED), []
    for annotation in sorted((smears / "Annotations").glob("*.xml")):
        file = smears / "Images" / f"{annotation.stem}.jpg"
        boxes = white_cells(annotation)
        if not file.exists() or not boxes:
            continue
        picture = read_image(file)
        for _ in range(20):
            x = rng.randrange(picture.shape[1] - EMPTY_CROP_PX)
            y = rng.randrange(picture.shape[0] - EMPTY_CROP_PX)
            if all(
                r < x or le > x + EMPTY_CROP_PX or b < y or t > y + EMPTY_CROP_PX for le, t, r, b in boxes
            ):
                places.append(cv2.resize(picture[y : y + EMPTY_CROP_PX, x : x + EMPTY_CROP_PX], (size, size)))
                break
    return places  # type: ignore[return-value]


def study(data: Path, smears: Path, model: Path, limit: int) -> dict[str, Any]:
    """All of it, as figures."""
    file = read_model(model)
    classifier = Classifier(file)
    paths = find_images([data / "training_data"])
    random.Random(SEED).shuffle(paths)
    cells = [read_image(path) for path in paths[:limit]]
    empty = [measure(place) for place in empty_places(smears, file.manifest.geometry.size)]
    crop = with_crop(file.manifest.geometry, None)
    moved = {}
    for part in (0.0, 0.25, 0.5, 0.75):
        way = round(part * crop.crop)
        shifted = [
            prepare(np.pad(cell, ((0, 0), (way, 0), (0, 0)))[:, : cell.shape[1]], crop) for cell in cells
        ]
        moved[part] = sum(bool(reasons(measure(place))) for place in shifted) / len(cells)
    return {
        "model": file.manifest.name,
        "cells": len(cells),
        "blur": sweep(cells, classifier, blurred, BLUR_SIGMAS_PX),
        "exposure": sweep(cells, classifier, exposed, EXPOSURES),
        "moved": moved,
        "empty": {
            "places": len(empty),
            "referred_as_no_cell": sum("no cell" in " ".join(reasons(each)) for each in empty) / len(empty),
            "stained_p50_p95_p99": np.percentile([each["stained"] for each in empty], (50, 95, 99)).tolist(),
        },
    }


def draw(results: dict[str, Any], out: Path) -> None:
    """The curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), sharex="col", layout="constrained")
    panels = (
        ("blur", "sharpness", "blur, sigma in px of the C-NMC image", [DEFAULT.min_sharpness]),
        (
            "exposure",
            "brightness",
            "exposure, factor on the light",
            [DEFAULT.min_brightness, DEFAULT.max_brightness],
        ),
    )
    for column, (name, figure_name, label, limits) in enumerate(panels):
        rows = results[name]
        steps = [row["step"] for row in rows]
        top, bottom = axes[0][column], axes[1][column]
        low, middle, high = ([row[f"{figure_name}_p{p}"] for row in rows] for p in (1, 50, 99))
        top.fill_between(steps, low, high, alpha=0.25, label="1st to 99th percentile")
        top.plot(steps, middle, label="median")
        for limit in limits:
            top.axhline(limit, color="black", linestyle=":", label=f"limit {limit:g}")
        top.set_ylabel(figure_name)
        bottom.plot(steps, [100 * row["referred"] for row in rows], label="referred by the gate")
        bottom.plot(steps, [100 * row["same_class"] for row in rows], label="same class as unchanged")
        bottom.set(xlabel=label, ylabel="% of cells", ylim=(0, 102))
        top.legend(fontsize=8)
        bottom.legend(fontsize=8)
    figure.suptitle(f"Quality gate on {results['cells']} C-NMC cells, {results['model']}", fontsize=10)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, metavar="C-NMC")
    parser.add_argument("--smears", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the installed one")
    parser.add_argument("--limit", type=int, default=300, metavar="N", help="cells, drawn at random")
    parser.add_argument("--out", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    results = study(options.data, options.smears, options.model or default_model(), options.limit)
    print(json.dumps(results, indent=1))
    if options.out:
        draw(results, options.out)


if __name__ == "__main__":
    main()
