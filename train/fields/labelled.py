"""Labelled fields: pictures with the boxes of their cells, from three data sets, and outlines made of the boxes.

The last fifth of each set, in name order, is kept apart: it validates and never trains.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.imaging.field.lamp import find_lamp
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels

VALIDATION_PART = 0.2
"""The last fifth of each set, in name order."""

WORK_RED_PX = 48.0
"""Fields are kept in memory with red cells this wide, so that those of all microscopes have a like size."""

PHONE_RED_PX = 11.0
"""Of `phone`, whose red cells have no boxes: half the width of its white cells, a rough guess that training took."""

OUTLINE_SIDE_PX = 72
"""A cell is outlined in a picture in which its box is so wide."""

MIN_OUTLINE_IOU = 0.8
"""An outline whose own box overlaps the given box less is wrong; an ellipse in the box takes its place."""

Side = Literal["train", "validation"]
Box = tuple[float, float, float, float]
Labels = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Listed:
    """One field as its data set lists it; boxes are (left, top, right, bottom) in its pixels."""

    file: Path
    name: str
    set: str
    white: list[Box]
    red: list[Box]
    platelets: list[Box]


@dataclass
class Field:
    """One field ready to train on.

    Attributes:
        picture: (H, W, 3) uint8 RGB, even and neutral, red cells about `WORK_RED_PX` wide where it has so many
            pixels.
        cells: (H, W) int16: 0 between the cells, n in the n-th white cell.
        red_px: width of its red cells, pixels of `picture`.
        outlined: whether the cells have outlines; else ellipses stand for them.
    """

    picture: Pixels
    cells: Labels
    red_px: float
    set: str
    outlined: bool = True


def listed_fields(fields: Path, smears: Path) -> list[Listed]:
    """Every field of `fields` (boxes.csv) and of `smears` (Pascal VOC).

    Raises:
        InputError: none of the two is there.
    """
    found = [*_of_csv(fields), *_of_xml(smears)]
    if not found:
        raise InputError(
            f"{fields} and {smears}: no boxes.csv and no Annotations; give the folders of the fields"
        )
    return found


def side_of(fields: Iterable[Listed], side: Side) -> list[Listed]:
    """Those that train, or those that validate."""
    by_set: dict[str, list[Listed]] = defaultdict(list)
    for field in sorted(fields, key=lambda f: f.name):
        by_set[field.set].append(field)
    chosen = []
    for members in by_set.values():
        cut = round(len(members) * (1 - VALIDATION_PART))
        chosen += members[:cut] if side == "train" else members[cut:]
    return chosen


def _of_csv(folder: Path) -> list[Listed]:
    if not (folder / "boxes.csv").is_file():
        return []
    boxes: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    with (folder / "boxes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            box = tuple(float(row[key]) for key in ("x0", "y0", "x1", "y1"))
            boxes[row["file"]][row["label"]].append(box)  # type: ignore[arg-type]
    with (folder / "images.csv").open(newline="") as file:
        return [
            _listed(folder / r["file"], r["file"], r["set"], boxes[r["file"]]) for r in csv.DictReader(file)
        ]


def _of_xml(folder: Path) -> list[Listed]:
    found = []
    for annotation in sorted((folder / "Annotations").glob("*.xml")):
        file = folder / "Images" / f"{annotation.stem}.jpg"
        if not file.is_file():
            continue
        boxes: dict[str, list[Box]] = defaultdict(list)
        for item in ElementTree.parse(annotation).getroot().iter("object"):  # noqa: S314 - files of ours
            box = tuple(
                float(item.findtext(f"bndbox/{key}", "nan")) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            boxes[item.findtext("name", "")].append(box)  # type: ignore[arg-type]
        boxes["platelet"] = boxes.pop("Platelets", [])
        found.append(_listed(file, f"smears/{file.name}", "smears", boxes))
    return found


def _listed(file: Path, name: str, set_name: str, boxes: dict[str, list[Box]]) -> Listed:
    return Listed(file, name, set_name, boxes.get("WBC", []), boxes.get("RBC", []), boxes.get("platelet", []))


def red_px(field: Listed, width: int, height: int) -> float:
    """Width of the red cells of a field, from the boxes that do not touch its border; 0 if it has none."""
    whole = [b for b in field.red if b[0] > 2 and b[1] > 2 and b[2] < width - 2 and b[3] < height - 2]
    if len(whole) < 2:
        return PHONE_RED_PX if field.set == "phone" else 0.0
    return float(np.median([np.sqrt((b[2] - b[0]) * (b[3] - b[1])) for b in whole]))


def load(listed: Iterable[Listed]) -> list[Field]:
    """Read, neutralise, scale and outline fields; those without a known scale take their set's median."""
    listed = list(listed)
    pictures = [read_image(field.file) for field in listed]
    widths = [red_px(field, p.shape[1], p.shape[0]) for field, p in zip(listed, pictures, strict=True)]
    medians = {
        name: float(np.median([w for w, f in zip(widths, listed, strict=True) if w and f.set == name] or [1]))
        for name in {field.set for field in listed}
    }
    return [
        _ready(field, picture, width or medians[field.set])
        for field, picture, width in zip(listed, pictures, widths, strict=True)
    ]


def _ready(field: Listed, picture: Pixels, red: float) -> Field:
    neutral = find_lamp(picture).neutral(picture)
    scale = min(1.0, WORK_RED_PX / red)
    cells = np.zeros(neutral.shape[:2], np.int16)
    outlined = True
    for number, box in enumerate(field.white, 1):
        mask, found = outline(neutral, box)
        outlined &= found
        left, top = round(box[0]), round(box[1])
        _paint(cells, mask, left, top, number)
    if scale < 1:
        size = (round(neutral.shape[1] * scale), round(neutral.shape[0] * scale))
        neutral = cv2.resize(neutral, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        cells = cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)  # type: ignore[assignment]
    return Field(neutral, cells, red * scale, field.set, outlined)


def _paint(cells: Labels, mask: npt.NDArray[np.uint8], left: int, top: int, number: int) -> None:
    """Write a mask into the picture's labels, its outside cut off."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + mask.shape[1], cells.shape[1]), min(top + mask.shape[0], cells.shape[0])
    if x1 > x0 and y1 > y0:
        part = mask[y0 - top : y1 - top, x0 - left : x1 - left]
        cells[y0:y1, x0:x1][part > 0] = number


def outline(picture: Pixels, box: Box) -> tuple[npt.NDArray[np.uint8], bool]:
    """The cell within its box by GrabCut (Rother et al. 2004), or an ellipse where that fails.

    Args:
        picture: (H, W, 3) uint8 RGB.
        box: left, top, right, bottom; tight around the cell.

    Returns:
        (h, w) uint8 mask of the box's own size, and whether it is an outline and no ellipse.
    """
    width, height = max(2, round(box[2]) - round(box[0])), max(2, round(box[3]) - round(box[1]))
    side = OUTLINE_SIDE_PX
    margin = side // 4
    factor = side / max(width, height)
    matrix = np.array([[factor, 0, margin - box[0] * factor], [0, factor, margin - box[1] * factor]])
    shape = (round(width * factor) + 2 * margin, round(height * factor) + 2 * margin)
    flags = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    crop = cv2.warpAffine(picture, matrix, shape, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    inner = (margin, margin, shape[0] - 2 * margin, shape[1] - 2 * margin)
    mask = _grab(crop, inner)
    own = cv2.boundingRect(mask)
    good = _iou(own, inner) >= MIN_OUTLINE_IOU
    if not good:
        mask = np.zeros_like(mask)
        middle = (inner[0] + inner[2] / 2, inner[1] + inner[3] / 2)
        cv2.ellipse(mask, (middle, (inner[2], inner[3]), 0.0), 1, -1)
    mask = mask[margin : margin + inner[3], margin : margin + inner[2]]
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR), good  # type: ignore[return-value]


def _grab(crop: npt.NDArray[Any], inner: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    left, top, width, height = inner
    state = np.full(crop.shape[:2], cv2.GC_BGD, np.uint8)
    middle = (left + width / 2, top + height / 2)
    cv2.ellipse(state, (middle, (width * 1.12, height * 1.12), 0.0), cv2.GC_PR_BGD, -1)
    cv2.ellipse(state, (middle, (width * 0.9, height * 0.9), 0.0), cv2.GC_PR_FGD, -1)
    cv2.ellipse(state, (middle, (width * 0.4, height * 0.4), 0.0), cv2.GC_FGD, -1)
    cv2.setRNGSeed(0)
    try:
        whole = (0, 0, crop.shape[1], crop.shape[0])  # not used where a mask is given
        cv2.grabCut(crop, state, whole, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return np.zeros(crop.shape[:2], np.uint8)
    mask = ((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled


def _iou(one: Any, other: tuple[int, int, int, int]) -> float:
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0, across) * max(0, down)
    return float(common / max(1, one[2] * one[3] + other[2] * other[3] - common))
