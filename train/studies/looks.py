"""What a model uses: the same cells with one property removed.

python -m train.studies.looks MODEL.tflite --data DIR   # or a run; DIR of patients that did not train it

Prints AUC, sensitivity and specificity for each. If the AUC falls to chance, the removed property was needed; if it
stays, the rest is sufficient.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import LeukoscopeError
from edge.imaging.frame import Pixels
from train.data.dataset import data_root, scan
from train.evaluate.camera import Condition, Figures, judge, text
from train.evaluate.evaluation import load_scorer

CELL_LEVELS = 8
"""A pixel with a channel above this is of the cell: C-NMC cells are cut out on exact black."""

BLUR_PX = 6.0
"""Sigma that leaves outline, nucleus and colours of a cell of 200 pixels, and no chromatin."""

DISC_PX = 180
"""Diameter of the disc that shows a cell's mean colour and nothing of its size or shape: about that of a cell."""

MEAN_COLOUR = (66, 27, 76)
"""RGB, the mean over the data set's cells."""


def mask_of(cell: Pixels) -> npt.NDArray[np.bool_]:
    """(H, W) bool, where the cell is."""
    return np.asarray(cell.max(axis=2) > CELL_LEVELS)


def silhouette(cell: Pixels) -> Pixels:
    """Outline and size alone: every pixel of the cell has the same colour in every picture."""
    return np.where(mask_of(cell)[..., np.newaxis], np.array(MEAN_COLOUR, np.uint8), np.uint8(0))


def own_colour(cell: Pixels) -> Pixels:
    """Outline, size and the cell's own mean colour."""
    mask = mask_of(cell)
    mean = cell[mask].mean(axis=0) if mask.any() else np.zeros(3)
    return np.where(mask[..., np.newaxis], np.rint(mean).astype(np.uint8), np.uint8(0))


def disc(cell: Pixels) -> Pixels:
    """The cell's mean colour alone, on a disc of the same size in every picture."""
    mask = mask_of(cell)
    mean = np.rint(cell[mask].mean(axis=0)) if mask.any() else np.zeros(3)
    height, width = cell.shape[:2]
    picture = np.zeros_like(cell)
    cv2.circle(picture, (width // 2, height // 2), DISC_PX // 2, mean.tolist(), -1)
    return picture


def grey(cell: Pixels) -> Pixels:
    """No colour: each pixel has the mean colour of the data set at its own brightness."""
    brightness = cell.mean(axis=2, keepdims=True) / np.mean(MEAN_COLOUR)
    return np.asarray(np.clip(np.rint(brightness * MEAN_COLOUR), 0, 255), np.uint8)


def smooth(cell: Pixels) -> Pixels:
    """No texture: blurred within the outline, which stays sharp."""
    mask = mask_of(cell).astype(np.float32)
    amount = np.maximum(cv2.GaussianBlur(mask, (0, 0), BLUR_PX), 1e-3)
    blurred = cv2.GaussianBlur(cell.astype(np.float32) * mask[..., np.newaxis], (0, 0), BLUR_PX)
    return np.clip(blurred / amount[..., np.newaxis] * mask[..., np.newaxis], 0, 255).astype(np.uint8)


def without_rim(cell: Pixels) -> Pixels:
    """No outline: what lies outside the disc is black."""
    height, width = cell.shape[:2]
    inside = np.zeros((height, width), np.uint8)
    cv2.circle(inside, (width // 2, height // 2), DISC_PX // 2, 1, -1)
    return cv2.bitwise_and(cell, cell, mask=inside)  # type: ignore[return-value]


LOOKS = (
    Condition("as it is"),
    Condition("silhouette only", silhouette),
    Condition("silhouette in its mean colour", own_colour),
    Condition("mean colour only", disc),
    Condition("colour removed", grey),
    Condition("texture blurred", smooth),
    Condition("outline removed", without_rim),
)


def card_text(results: Mapping[str, Figures], cells: int) -> str:
    """The table as Markdown, for the card of a model."""
    lines = [
        f"With something taken away, on {cells} cells that were not used for training (0.5 is chance):",
        "",
        "| shown | AUC |",
        "|---|---|",
        *(
            f"| {name} | {figures['auc']:.2f} |"
            for name, figures in results.items()
            if figures["auc"] is not None
        ),
    ]
    return "\n".join(lines)


def main() -> int:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("subject", type=Path, metavar="RUN|MODEL.tflite")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--evidence", type=Path, metavar="FILE.json", help="for the card: export --evidence FILE.json"
    )
    options = parser.parse_args()
    try:
        scorer, _ = load_scorer(options.subject)
        cells = scan(options.data)
        results = judge(scorer.score, scorer.geometry, data_root(options.data), cells, LOOKS)
    except LeukoscopeError as error:
        print(f"looks: {error}", file=sys.stderr)
        return error.exit_status
    if options.evidence:
        options.evidence.write_text(json.dumps({"rests_on": card_text(results, len(cells))}, indent=1) + "\n")
    print(json.dumps(results) if options.json else text(results, len(cells), "with something taken away"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
