"""A contact sheet of validation fields with boxes, kinds and verdicts; the fields with a wrong or missed cell last.

python -m train.fields.studies.sheet --data ../shared --out docs/figures/fields.jpg [--model FILE]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier
from edge.model.fields import FieldClassifier, JudgedCell
from edge.model.file import read_model
from edge.model.finder import CellFinder
from edge.model.installed import find_model
from edge.model.network import read_network, shipped_network
from train.fields.folders import Folders
from train.fields.judge import by_network, found_in
from train.fields.labelled import Listed, side_of

TILE_PX, COLUMNS = 300, 5
FAILURES = 10
COLOURS = {
    "lymphoid": (20, 130, 220),
    "other": (230, 130, 20),
    "unclear": (150, 60, 180),
    None: (110, 110, 110),
}
TRUTH = (0, 170, 0)
ATTRIBUTION = "phone: CC0 1.0; raabin: Raabin-WBC (MIT, TXL-PBC); pbc: Acevedo et al. 2020, CC BY 4.0; smears: Alam & Islam 2019, MIT"


def tile(listed: Listed, fields: FieldClassifier) -> Pixels:
    """One field with what was said of it; thin green boxes are the truth."""
    picture = read_image(listed.file)
    fields.forget()
    judged = fields.judge(picture)
    factor = TILE_PX / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    canvas = np.full((TILE_PX + 16, TILE_PX, 3), 255, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small[:TILE_PX, :TILE_PX]
    for left, top, right, bottom in listed.white:
        corners = [round(v * factor) for v in (left, top, right, bottom)]
        cv2.rectangle(canvas, (corners[0], corners[1]), (corners[2], corners[3]), TRUTH, 1)
    for cell in judged.cells:
        _draw(canvas, cell, factor)
    text = f"{listed.name}  red cells {judged.red_cell_px:.0f} px"
    cv2.putText(canvas, text, (3, TILE_PX + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def _draw(canvas: Pixels, cell: JudgedCell, factor: float) -> None:
    left, top, width, height = (round(v * factor) for v in cell.cell.box)
    colour = COLOURS[cell.kind]
    cv2.rectangle(canvas, (left, top), (left + width, top + height), colour, 1 if cell.cell.at_edge else 2)
    words = f"{cell.kind or 'small'} {cell.prediction.verdict}"
    at = (max(1, min(left, TILE_PX - 110)), top - 3 if top > 12 else top + height + 11)
    cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 3, cv2.LINE_AA)
    cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jpg")
    parser.add_argument("--model", type=Path, metavar="FILE")
    options = parser.parse_args()
    model = read_model(find_model(options.model))
    fields = FieldClassifier(model, Classifier(model))
    chosen = side_of(Folders.below(options.data).listed(), "validation")
    finder = CellFinder(read_network(shipped_network("cells"), "cells"))
    counts, _ = found_in(chosen, by_network(finder))
    failed = {name for count in counts.values() for name in count.failures}
    rows = []
    for set_name in ("smears", "pbc", "raabin", "phone"):
        members = [f for f in chosen if f.set == set_name and f.name not in failed]
        rows += [tile(f, fields) for f in members[:: max(1, len(members) // COLUMNS)][:COLUMNS]]
    wrong = sorted((f for f in chosen if f.name in failed), key=lambda f: f.set == "phone")
    rows += [tile(f, fields) for f in wrong][:FAILURES]
    rows += [np.full_like(rows[0], 255)] * (-len(rows) % COLUMNS)
    sheet = np.vstack([np.hstack(rows[i : i + COLUMNS]) for i in range(0, len(rows), COLUMNS)])
    foot = np.full((18, sheet.shape[1], 3), 255, np.uint8)
    cv2.putText(foot, ATTRIBUTION, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.out), np.vstack([sheet, foot])[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
