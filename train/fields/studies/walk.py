"""Count once, measured: a walk in overlapping steps over a large smear that is put together from real fields.

    python -m train.fields.studies.walk --data ../shared [--model FILE]

The smear is made of fields of the set `smears` whose white cells all lie whole in them, so that the truth is known.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np

from edge.cameras.settings import CameraSettings
from edge.daemon.fields import FieldPipeline
from edge.daemon.pipeline import Pipeline
from edge.imaging.files import read_image
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier
from edge.model.file import read_model
from edge.model.installed import find_model
from train.fields.folders import Folders
from train.fields.labelled import Listed, side_of

WIDTH, HEIGHT = 640, 480
SIDE = 4
MARGIN_PX = 6
SAME_PX = 60


def smear(fields: list[Listed], random: np.random.Generator) -> tuple[Pixels, list[tuple[float, float]]]:
    """A smear of `SIDE` x `SIDE` fields, and the middles of its white cells."""
    whole = [f for f in fields if all(_inside(box) for box in f.white)]
    chosen = [whole[int(n)] for n in random.choice(len(whole), SIDE * SIDE, replace=False)]
    pictures = [read_image(field.file)[:HEIGHT, :WIDTH] for field in chosen]
    rows = [np.hstack(pictures[n : n + SIDE]) for n in range(0, SIDE * SIDE, SIDE)]
    middles = [
        ((box[0] + box[2]) / 2 + WIDTH * (n % SIDE), (box[1] + box[3]) / 2 + HEIGHT * (n // SIDE))
        for n, field in enumerate(chosen)
        for box in field.white
    ]
    return np.vstack(rows), middles


def _inside(box: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = box
    return min(left, top) > MARGIN_PX and right < WIDTH - MARGIN_PX and bottom < HEIGHT - MARGIN_PX


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="FILE")
    parser.add_argument("--walks", type=int, default=3, metavar="N")
    options = parser.parse_args()
    model = read_model(find_model(options.model))
    classifier = Classifier(model)
    fields = [f for f in side_of(Folders.below(options.data).listed(), "validation") if f.set == "smears"]
    for seed in range(options.walks):
        random = np.random.default_rng(seed)
        picture, cells = smear(fields, random)
        pipeline = FieldPipeline(
            model, classifier, CameraSettings(view="field"), Pipeline(classifier, model, "box", ""), "box"
        )
        shown = frames = 0
        counted: list[tuple[float, float]] = []
        for row, y in enumerate(range(0, picture.shape[0] - HEIGHT + 1, HEIGHT // 2)):
            steps = list(range(0, picture.shape[1] - WIDTH + 1, WIDTH // 2))
            for x in steps if row % 2 == 0 else reversed(steps):
                part = picture[y : y + HEIGHT, x : x + WIDTH] * random.uniform(0.95, 1.05)
                noisy = np.clip(part + random.normal(0, 2, part.shape), 0, 255).astype(np.uint8)
                results = pipeline.results(Frame(noisy, 0, frames, "walk", "slide"))
                frames += 1
                if results is not None:
                    shown += results.field.cells
                    boxes = [record.field.box for record, _ in results.cells if record.field is not None]
                    counted += [(x + b[0] + b[2] / 2, y + b[1] + b[3] / 2) for b in boxes]
        print(json.dumps({**_compared(cells, counted), "shown_in_all_frames": shown, "frames": frames}))


def _compared(cells: list[tuple[float, float]], counted: list[tuple[float, float]]) -> dict[str, int]:
    """Cells that were counted never, once and more than once; what was counted elsewhere lies on seams of the smear."""
    times = [sum(math.hypot(x - a, y - b) < SAME_PX for a, b in counted) for x, y in cells]
    return {
        "cells": len(cells),
        "once": times.count(1),
        "never": times.count(0),
        "more_than_once": sum(n > 1 for n in times),
        "elsewhere": len(counted) - sum(times),
    }


if __name__ == "__main__":
    main()
