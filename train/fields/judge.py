"""How well cells are found, outlined and classified by kind, on validation fields.

    python -m train.fields.judge --data ../shared [--cells FILE] [--kind FILE] [--side validation|train|all]

A cell is found if a found cell's centre lies in its box, one to one; cells at the border are free.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.field.cells import Cell
from edge.imaging.field.cutout import cut_out
from edge.imaging.field.lamp import WHITE_LEVELS, Lamp, find_lamp
from edge.imaging.field.ruler import MODEL_RED_CELL_PX
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.finder import CellFinder
from edge.model.network import read_network, shipped_network
from train.fields.folders import Folders
from train.fields.labelled import Box, Listed, red_px, side_of

EDGE_PX = 2.0
USUAL_WIDTH_IN_REDS = 1.6
"""Width of a white cell; single cells show no red ones."""

CROP_PX, CUT_SIDE_PX = 256, 128
"""Side of the classifier's square at its own scale, and in pixels of its input."""

FLAT_LAMP = Lamp(np.vstack([np.full((1, 3), np.log(WHITE_LEVELS)), np.zeros((5, 3))]), 120, 120)
"""It changes nothing."""


@dataclass
class Count:
    """Of one set: cells found, missed and wrongly found; the ruler's ratio to the boxes of red cells."""

    found: int = 0
    missed: int = 0
    wrong: int = 0
    ruler: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Recall, precision and counts; how far off the ruler is, at the median and at nine of ten fields."""
        off = np.abs(np.log2(self.ruler)) if self.ruler else np.zeros(1)
        return {
            "recall": round(self.found / max(1, self.found + self.missed), 4),
            "precision": round(self.found / max(1, self.found + self.wrong), 4),
            "found": self.found,
            "missed": self.missed,
            "wrong": self.wrong,
            "ruler_off_median": round(float(np.exp2(np.median(off)) - 1), 3),
            "ruler_off_p90": round(float(np.exp2(np.quantile(off, 0.9)) - 1), 3),
        }


Find = Callable[[Pixels], tuple[list[tuple[float, float, bool]], float]]
"""A field's cells, as x, y and whether the border cuts them, and the width of its red cells (0: not told)."""


def by_network(finder: CellFinder) -> Find:
    """The finder as it runs on the box, each field by itself."""

    def find(picture: Pixels) -> tuple[list[tuple[float, float, bool]], float]:
        lamp = find_lamp(picture)
        look = finder.look(picture, lamp)
        return [(*cell.centre, cell.at_edge) for cell in finder.find(picture, lamp, look)], look.red_px

    return find


def by_rules(picture: Pixels) -> tuple[list[tuple[float, float, bool]], float]:
    """What the network is compared with: optical density of red after the lamp is taken out, Otsu, pieces."""
    neutral = find_lamp(picture).neutral(picture)
    red = cv2.GaussianBlur(cv2.extractChannel(neutral, 0), (0, 0), max(1.0, max(picture.shape) / 300))
    lit = cv2.extractChannel(neutral, 1) > 20
    limit, _ = cv2.threshold(red[lit].reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    dark: npt.NDArray[Any] = ((red < limit) & lit).astype(np.uint8)
    side = max(3, round(max(picture.shape[:2]) / 80)) | 1
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    dark = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    count, _, stats, centres = cv2.connectedComponentsWithStats(dark)
    height, width = dark.shape
    cells = []
    for number in range(1, count):
        left, top, across, down, area = stats[number]
        if area < 0.0008 * width * height:
            continue
        cut = min(left, top) < EDGE_PX or left + across > width - EDGE_PX or top + down > height - EDGE_PX
        cells.append((float(centres[number][0]), float(centres[number][1]), bool(cut)))
    return cells, 0.0


def found_in(fields: Iterable[Listed], find: Find) -> tuple[dict[str, Count], list[float]]:
    """Recall and precision by set, and milliseconds a field."""
    counts: dict[str, Count] = {}
    times_ms = []
    for listed in fields:
        picture = read_image(listed.file)
        height, width = picture.shape[:2]
        started = time.perf_counter()
        cells, ruler = find(picture)
        times_ms.append((time.perf_counter() - started) * 1e3)
        count = counts.setdefault(listed.set, Count())
        true_red = red_px(listed, width, height)
        if ruler and true_red and listed.red:
            count.ruler.append(ruler / true_red)
        before = count.missed + count.wrong
        _match(count, listed.white, cells, width, height)
        if count.missed + count.wrong > before:
            count.failures.append(listed.name)
    return counts, times_ms


def _match(
    count: Count, boxes: list[Box], cells: list[tuple[float, float, bool]], width: int, height: int
) -> None:
    used: set[int] = set()
    for left, top, right, bottom in boxes:
        at_edge = left <= EDGE_PX or top <= EDGE_PX or right >= width - EDGE_PX or bottom >= height - EDGE_PX
        hits = [
            n
            for n, (x, y, _) in enumerate(cells)
            if n not in used and left <= x <= right and top <= y <= bottom
        ]
        if hits:
            used.add(hits[0])
            count.found += not at_edge
        else:
            count.missed += not at_edge
    count.wrong += sum(n not in used and not cut for n, (_, _, cut) in enumerate(cells))


def dice(masks: Path, finder: CellFinder) -> list[float]:
    """Overlap of the cut-out with the true cell, for each in a folder of NNN.png and NNN_mask.png; 0 if not found.

    The cells stand alone in pictures of 120 px, without red cells to measure: the scale is given.
    """
    found = []
    for file in sorted(masks.glob("[0-9][0-9][0-9].png")):
        picture = read_image(file)
        truth = (read_image(file.with_name(f"{file.stem}_mask.png")) > 60).astype(np.uint8) * 255
        width = float(np.sqrt(np.count_nonzero(truth[..., 0]) * 4 / np.pi))
        lamp = find_lamp(picture)
        red_px = width / USUAL_WIDTH_IN_REDS
        cells = finder.find(picture, lamp, finder.look(picture, lamp, red_px), red_px)
        side_px = CROP_PX * red_px / MODEL_RED_CELL_PX
        found.append(max((_dice(picture, truth, lamp, cell, side_px) for cell in cells), default=0.0))
    return found


def _dice(picture: Pixels, truth: Pixels, lamp: Lamp, cell: Cell, side_px: float) -> float:
    """Of the mask that the classifier's cut-out has, at the scale of the cut-out."""
    mask = cut_out(picture, lamp, cell, side_px, CUT_SIDE_PX)[1] > 0
    true_mask = cut_out(truth, FLAT_LAMP, cell, side_px, CUT_SIDE_PX)[0][..., 0] > 127
    return float(2 * (mask & true_mask).sum() / max(1, mask.sum() + true_mask.sum()))


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--cells", type=Path, metavar="FILE", help="default: the finder that ships")
    parser.add_argument("--kind", type=Path, metavar="FILE", help="default: the gate that ships")
    parser.add_argument("--side", choices=("validation", "train", "all"), default="validation")
    parser.add_argument("--rules", action="store_true", help="also colour rules, to compare with")
    parser.add_argument(
        "--failures", action="store_true", help="name the fields with a missed or a wrong cell"
    )
    options = parser.parse_args()
    folders = Folders.below(options.data)
    listed = folders.listed()
    chosen = listed if options.side == "all" else side_of(listed, options.side)
    finder = CellFinder(read_network(options.cells or shipped_network("cells"), "cells"))
    for name, find in (("network", by_network(finder)), *((("rules", by_rules),) if options.rules else ())):
        counts, times_ms = found_in(chosen, find)
        for set_name, count in counts.items():
            line = {"by": name, "set": set_name, **count.summary()}
            if options.failures:
                line["failures"] = count.failures
            print(json.dumps(line))
        print(
            json.dumps(
                {
                    "by": name,
                    "ms_median": round(float(np.median(times_ms)), 2),
                    "ms_min": round(min(times_ms), 2),
                }
            )
        )
    if folders.masks:
        overlaps = dice(folders.masks, finder)
        print(
            json.dumps(
                {
                    "masks": len(overlaps),
                    "dice_mean": round(float(np.mean(overlaps)), 4),
                    "dice_median": round(float(np.median(overlaps)), 4),
                    "not_found": sum(o == 0 for o in overlaps),
                }
            )
        )
    if folders.typed:
        from train.fields.judge_kind import judge_kind

        print(json.dumps(judge_kind(folders, finder, options.kind)))


if __name__ == "__main__":
    main()
