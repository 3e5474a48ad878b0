"""How well the cell is found in a crop: masks against the boxes of real smears, and a contact sheet.

    python -m train.studies.background ../shared/smears --out docs/figures/background.jpg

Prints a table; boxes that touch the picture's border hold a part of a cell, and are left out.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging import background
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from train.studies.quality import white_cells

CROP_PX = 320
BORDER_PX = 2
PARTS = (1.0, 0.5, 1 / 3, 0.25)
SHEET_COLUMNS, SHEET_ROWS, TILE_PX = 8, 3, 104
ATTRIBUTION = "Smears: Complete Blood Cell Count Dataset, Alam & Islam 2019, MIT licence"


@dataclass
class Boxed:
    """A crop around a white cell, and its box in it: left, top, right, bottom, pixels."""

    crop: Pixels
    box: tuple[int, int, int, int]


def boxed_cells(smears: Path) -> list[Boxed]:
    """Every white cell that lies within its picture, in a crop that is mirrored where it reaches beyond."""
    cells = []
    for annotation in sorted((smears / "Annotations").glob("*.xml")):
        file = smears / "Images" / f"{annotation.stem}.jpg"
        if not file.exists():
            continue
        picture = read_image(file)
        height, width = picture.shape[:2]
        wide = cv2.copyMakeBorder(picture, CROP_PX, CROP_PX, CROP_PX, CROP_PX, cv2.BORDER_REFLECT_101)
        for left, top, right, bottom in white_cells(annotation):
            if min(left, top) <= BORDER_PX or right >= width - BORDER_PX or bottom >= height - BORDER_PX:
                continue
            x, y = (left + right + CROP_PX) // 2, (top + bottom + CROP_PX) // 2
            crop = wide[y : y + CROP_PX, x : x + CROP_PX].copy()
            half_width, half_height = (right - left) // 2, (bottom - top) // 2
            middle = CROP_PX // 2
            box = (middle - half_width, middle - half_height, middle + half_width, middle + half_height)
            cells.append(Boxed(crop, box))
    return cells


def scores(mask: npt.NDArray[np.uint8], box: tuple[int, int, int, int]) -> tuple[float, float, float]:
    """How a mask, (CROP_PX, CROP_PX), fits a box.

    Returns:
        Intersection over union of the mask's own box with it; the share of the ellipse in the box that is
        covered; the share of the mask that lies outside the box.
    """
    left, top, right, bottom = box
    inside = int(mask[top:bottom, left:right].sum())
    ellipse = np.zeros_like(mask)
    cv2.ellipse(ellipse, (((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top), 0.0), 1, -1)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return 0.0, 0.0, 0.0
    own = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    across = max(0, min(right, own[2]) - max(left, own[0]))
    down = max(0, min(bottom, own[3]) - max(top, own[1]))
    union = (right - left) * (bottom - top) + (own[2] - own[0]) * (own[3] - own[1]) - across * down
    covered = int((mask & ellipse).sum()) / int(ellipse.sum())
    return across * down / union, covered, 1 - inside / int(mask.sum())


def study(cells: list[Boxed]) -> dict[str, dict[str, float]]:
    """For each part of Otsu's threshold, how many masks cover their cell and little else."""
    rows = {}
    used = background.STAIN_PART
    try:
        for part in PARTS:
            background.STAIN_PART = part
            masks = [
                cv2.resize(background.cell_mask(c.crop), (CROP_PX, CROP_PX), interpolation=0) for c in cells
            ]
            iou, covered, outside = np.array(
                [scores(mask, c.box) for mask, c in zip(masks, cells)]  # type: ignore[arg-type]
            ).T
            rows[f"{part:.2f}"] = {
                "box_iou_over_0.5": round(float((iou > 0.5).mean()), 3),
                "box_iou_over_0.7": round(float((iou > 0.7).mean()), 3),
                "box_iou_median": round(float(np.median(iou)), 3),
                "covered_median": round(float(np.median(covered)), 3),
                "outside_median": round(float(np.median(outside)), 3),
                "covers_70_outside_under_15": round(float(((covered > 0.7) & (outside < 0.15)).mean()), 3),
            }
    finally:
        background.STAIN_PART = used
    return rows


def contact_sheet(cells: list[Boxed], out: Path) -> None:
    """Crops and, below each, what is left of it; evenly spread over the data, none chosen."""
    wanted = SHEET_COLUMNS * SHEET_ROWS
    chosen = cells[:: max(1, len(cells) // wanted)][:wanted]
    sheet = np.full((SHEET_ROWS * 2 * TILE_PX + 18, SHEET_COLUMNS * TILE_PX, 3), 255, np.uint8)
    for i, cell in enumerate(chosen):
        row, column = divmod(i, SHEET_COLUMNS)
        for below, picture in enumerate((cell.crop, background.blacken(cell.crop))):
            tile = cv2.resize(picture, (TILE_PX - 2, TILE_PX - 2), interpolation=cv2.INTER_AREA)
            y, x = (2 * row + below) * TILE_PX, column * TILE_PX
            sheet[y : y + TILE_PX - 2, x : x + TILE_PX - 2] = tile
    cv2.putText(sheet, ATTRIBUTION, (6, sheet.shape[0] - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("smears", type=Path, metavar="SMEARS")
    parser.add_argument("--out", type=Path, metavar="FILE.jpg")
    options = parser.parse_args()
    cells = boxed_cells(options.smears)
    print(json.dumps({"cells": len(cells), "by_part_of_otsu": study(cells)}, indent=1))
    if options.out:
        contact_sheet(cells, options.out)


if __name__ == "__main__":
    main()
