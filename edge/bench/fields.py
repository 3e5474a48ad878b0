"""Whole fields: milliseconds by stage, for fields of two sizes with known numbers of cells or for given images."""

import gc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2
import numpy as np

from edge.bench.machine import busy, conditions, machine, peak_rss_mb, versions
from edge.cameras.backends.drawing import smear_field
from edge.errors import InputError
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier
from edge.model.fields import FieldClassifier, JudgedField
from edge.model.file import ModelFile

WARM_UP_RUNS = 3
DRAWN = ((640, 480, 5, 80.0), (1920, 1080, 15, 80.0))
"""Width, height, white cells and the width of a red cell, all in pixels."""

CROWDED = (640, 480, 12, 56.0)
"""The same, of a field that gives many results in little time."""

DRAWN_RED_PX = 126.0
"""Width of a red cell as the simulator draws it."""

CELL_ROOM_PX = 275
"""Side of the square around each white cell that no other cell enters, at the scale of the drawing."""

STAGES = ("lamp", "ruler", "find", "cut", "kind", "classes", "total")


def drawn_field(width: int, height: int, cells: int, red_px: float, seed: int = 0) -> Pixels:
    """A drawn smear with the given number of white cells, none at the border and none touching another.

    Args:
        width, height: pixels.
        cells: white cells.
        red_px: width of a red cell.
        seed: of the drawing.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        InputError: there is no room for them.
    """
    random = np.random.default_rng(seed)
    factor = red_px / DRAWN_RED_PX
    full = (round(width / factor), round(height / factor))
    columns, rows = full[0] // CELL_ROOM_PX, full[1] // CELL_ROOM_PX
    if columns * rows < cells:
        raise InputError(f"a field of {width}x{height} has no room for {cells} cells")
    places = random.permutation(columns * rows)[:cells]
    whites = [
        ((n % columns + 0.5) * full[0] / columns, (n // columns + 0.5) * full[1] / rows) for n in places
    ]
    field = smear_field(random, *full, whites)
    small = cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA)
    noisy: Pixels = np.clip(small + random.normal(0, 2, small.shape), 0, 255).astype(np.uint8)
    return noisy


def drawn_fields(
    kinds: Sequence[tuple[int, int, int, float]] = DRAWN, seeds: Sequence[int] = (0,)
) -> list[Pixels]:
    """Fields by kind, as in `DRAWN`, and seed; drawn in another process, whose memory is not this one's."""
    with ProcessPoolExecutor(1) as pool:
        drawings = [pool.submit(drawn_field, *kind, seed) for kind in kinds for seed in seeds]
        return [drawing.result() for drawing in drawings]


def bench_fields(model: ModelFile, images: list[Pixels], runs: int, threads: int = 1) -> list[dict[str, Any]]:
    """Time whole fields, the ruler known as for every frame of a specimen but the first.

    Args:
        images: (H, W, 3) uint8 RGB each; none for drawn ones.
        runs: of each.
        threads: of the interpreters.
    """
    chosen = images or drawn_fields()
    fields = FieldClassifier(model, Classifier(model, threads), threads=threads)
    gc.collect()
    gc.freeze()  # as the daemon does
    results = []
    for number, image in enumerate(chosen):
        before = conditions()
        times: list[dict[str, float]] = []
        for _ in range(WARM_UP_RUNS + runs):
            judged = fields.judge(image, f"bench {number}")
            times.append(
                judged.timings_ms
            )  # keep only the times: the cut-outs of many runs would fill the memory
        result = _result(model, image, judged, times[WARM_UP_RUNS:], threads)
        results.append(result | {"conditions": {"before": before, "after": conditions()}})
    return results


def _result(
    model: ModelFile, image: Pixels, last: JudgedField, times: list[dict[str, float]], threads: int
) -> dict[str, Any]:
    from edge.bench import percentiles

    return {
        "model": model.manifest.name,
        "model_sha256": model.sha256,
        "runs": len(times),
        "threads": threads,
        "field_px": [image.shape[1], image.shape[0]],
        "cells": len(last.cells),
        "lymphoid": sum(cell.kind == "lymphoid" for cell in last.cells),
        "red_cell_px": round(last.red_cell_px, 1),
        "stages_ms": {stage: percentiles([run.get(stage, 0.0) for run in times]) for stage in STAGES},
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "machine": machine(),
        "versions": versions(),
    }


def format_table(results: list[dict[str, Any]]) -> str:
    """For people: one line per field."""
    lines = [
        f"{results[0]['model']} on {results[0]['machine']}; milliseconds a field",
        *busy(*results),
        f"{'':<24}" + "".join(f"{stage:>8}" for stage in STAGES),
    ]
    for result in results:
        width, height = result["field_px"]
        name = f"{width}x{height}, {result['cells']} cells"
        for first, column in ((name, "min"), ("", "p50")):
            figures = "".join(f"{result['stages_ms'][stage][column]:>8.2f}" for stage in STAGES)
            lines.append(f"{first:<21}{column}{figures}")
    for result in results:
        total = result["stages_ms"]["total"]
        lines.append(f"total of {result['cells']} cells: p95 {total['p95']:.2f} ms")
    return "\n".join([*lines, f"peak memory {results[-1]['peak_rss_mb']:.0f} MB"])
