"""Cells of known kind, cut out of their fields as the box cuts them: what the gate learns from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.field.cells import Cell
from edge.imaging.field.cutout import area_px, cut_out
from edge.imaging.field.lamp import find_lamp
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.finder import CellFinder
from train.fields.labelled import VALIDATION_PART, Box, Listed, Side
from train.fields.lymphocytes import lymphocytes
from train.fields.pasting import SETS, on_field

LYMPHOID, OTHER = 0.0, 1.0
LYMPHOID_TYPES = ("lymphocyte",)
NOT_FOUND_TYPES = ("platelet",)
"""Types that the finder does not take, and the gate is not asked about."""

STORED_SIDE_PX = 112
STORED_CELL_PX = 72.0

KEPT_PATIENTS = ("2", "16", "34", "H14")
"""Of C-NMC's fold 1: their cells do not train the gate, so that pasted cells of unknown patients can judge it."""

SCALE_SPREAD, GAIN_SPREAD, LIGHT_SPREAD = 0.08, 0.04, 0.1
"""Of a field before the finder sees it: its size, the gains of its channels, its brightness (natural logarithms)."""

JPEG_SHARE, JPEG_QUALITY = 0.5, (50, 95)
PASTE_TRIES = 20


@dataclass
class KindCell:
    """One cell of known kind.

    Attributes:
        picture: (112, 112, 3) uint8 RGB, neutral, not blackened, the cell 72 px wide in its middle.
        mask: (112, 112) uint8, 0 or 1.
        label: 0 lymphoid, 1 other.
        set, type: where it is from and what its data set calls it.
    """

    picture: Pixels
    mask: npt.NDArray[np.uint8]
    label: float
    set: str
    type: str
    name: str = ""


def of_typed(
    folder: Path, finder: CellFinder, side: Side, random: np.random.Generator | None = None
) -> list[KindCell]:
    """The cell in the middle of every image in folders named by type; the last fifth of each validates.

    Args:
        folder: of those folders.
        finder: that cuts the cells out.
        side: which part.
        random: if it is given, each image is also shown as another camera would: see `another_camera`.
    """
    found = []
    for part in sorted(p for p in folder.iterdir() if p.is_dir() and p.name not in NOT_FOUND_TYPES):
        label = LYMPHOID if part.name in LYMPHOID_TYPES else OTHER
        files = sorted(part.glob("*.jpg"))
        cut = round(len(files) * (1 - VALIDATION_PART))
        for file in files[:cut] if side == "train" else files[cut:]:
            for field in _shown(read_image(file), random):
                cell = _middle(field, finder)
                if cell is not None:
                    found.append(_kind_cell(field, cell, label, "typed", part.name, file.name))
    return found


def of_fields(
    listed: Iterable[Listed], finder: CellFinder, set_name: str, random: np.random.Generator | None = None
) -> list[KindCell]:
    """Cells of the set `raabin` or `pbc`, told by the list of its lymphocytes; `random` as in `of_typed`."""
    yes, unsure = lymphocytes(set_name)
    found = []
    for field in listed:
        number = field.file.stem
        if field.set != set_name or number in unsure or not field.white:
            continue
        label = LYMPHOID if number in yes else OTHER
        whole = read_image(field.file)
        box = max(field.white, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
        for picture in _shown(whole, random):
            factor = picture.shape[1] / whole.shape[1]
            cell = _in_box(
                picture, (box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor), finder
            )
            if cell is not None:
                name = "lymphocyte" if label == LYMPHOID else "other"
                found.append(_kind_cell(picture, cell, label, set_name, name, field.name))
    return found


def of_cnmc(files: Iterable[Path]) -> list[KindCell]:
    """C-NMC's own cells, all lymphoid; cut out already."""
    found = []
    for file in files:
        picture = read_image(file)
        mask = (picture.max(axis=2) > 0).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        moments = cv2.moments(mask, True)
        factor = STORED_CELL_PX / np.sqrt(moments["m00"] * 4 / np.pi)
        x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
        middle = STORED_SIDE_PX / 2 - 0.5
        matrix = np.array([[factor, 0, middle - x * factor], [0, factor, middle - y * factor]])
        size = (STORED_SIDE_PX, STORED_SIDE_PX)
        soft = cv2.blur(picture, (3, 3))  # warpAffine skips pixels
        small = cv2.warpAffine(soft, matrix, size, flags=cv2.INTER_LINEAR)
        inside = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST)
        found.append(KindCell(small, inside, LYMPHOID, "cnmc", file.parent.name, file.name))  # type: ignore[arg-type]
    return found


def of_pasted(
    files: Iterable[Path], listed: Iterable[Listed], finder: CellFinder, model_red_px: float, seed: int
) -> list[KindCell]:
    """C-NMC's cells, pasted on fields without regard to their scale and lamp to the letter, cut out by the finder."""
    random = np.random.default_rng(seed)
    fields = [field for field in listed if field.set in SETS]
    found = []
    for file in files:
        cell = read_image(file)
        mode = "lamp" if random.random() < 0.5 else "raw"
        for _ in range(PASTE_TRIES):
            field = fields[int(random.integers(len(fields)))]
            scaled_red_px = model_red_px * float(np.exp(random.normal(0, SCALE_SPREAD)))
            made = on_field(cell, field, scaled_red_px, mode, random)
            if made is None:
                continue
            picture = another_camera(made[0], random)
            factor = picture.shape[1] / made[0].shape[1]
            box = made[1]
            cut = _in_box(
                picture, (box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor), finder
            )
            if cut is not None:
                found.append(_kind_cell(picture, cut, LYMPHOID, "pasted", file.parent.name, file.name))
            break
    return found


def training_patients(files: Iterable[Path]) -> list[Path]:
    """Cells of C-NMC's fold 1 without those of `KEPT_PATIENTS`."""
    return [f for f in files if "fold_1" in f.parts and f.name.split("_")[1] not in KEPT_PATIENTS]


def another_camera(field: Pixels, random: np.random.Generator) -> Pixels:
    """A field a little larger or smaller, under another lamp, and often compressed."""
    size = np.exp(random.normal(0, SCALE_SPREAD)) * np.array(field.shape[1::-1])
    picture = cv2.resize(field, np.round(size).astype(int).tolist(), interpolation=cv2.INTER_AREA)
    gains = np.exp(random.normal(0, GAIN_SPREAD, 3) + random.normal(0, LIGHT_SPREAD))
    lit: Pixels = np.clip(picture * gains + 0.5, 0, 255).astype(np.uint8)
    if random.random() < JPEG_SHARE:
        quality = int(random.integers(*JPEG_QUALITY))
        jpeg = cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        lit = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return lit


def _shown(field: Pixels, random: np.random.Generator | None) -> Iterator[Pixels]:
    yield field
    if random is not None:
        yield another_camera(field, random)


def of_nothing(listed: Iterable[Listed], finder: CellFinder, seed: int) -> list[KindCell]:
    """Pieces of fields where the finder sees no white cell: red cells, dirt, background."""
    random = np.random.default_rng(seed)
    found = []
    for field in listed:
        if field.set == "phone":
            continue
        picture = read_image(field.file)
        lamp = find_lamp(picture)
        look = finder.look(picture, lamp)
        width = look.red_px * float(random.uniform(0.8, 2))
        if 2 * width >= min(picture.shape[:2]):
            continue
        x, y = random.uniform(width, np.array(picture.shape[1::-1]) - width)
        far = all(
            np.hypot(x - c.centre[0], y - c.centre[1]) > width / 2 + max(c.box[2:]) / 2
            for c in finder.find(picture, lamp, look)
        )
        if far:
            grid = np.linspace(-1, 1, 24)
            outline = (1 - grid[:, None] ** 2 - grid**2).astype(np.float32)
            box = (x - width / 2, y - width / 2, width, width)
            found.append(
                _kind_cell(
                    picture, Cell(box, 1.0, False, outline, box), OTHER, "nothing", "nothing", field.name
                )
            )
    return found


def _middle(field: Pixels, finder: CellFinder) -> Cell | None:
    """The found cell nearest to the middle of a field, if it lies there."""
    height, width = field.shape[:2]
    lamp = find_lamp(field)
    cells = finder.find(field, lamp, finder.look(field, lamp))
    ways = [np.hypot(c.centre[0] - width / 2, c.centre[1] - height / 2) for c in cells]
    if not ways or min(ways) > 0.25 * min(width, height):
        return None
    return cells[int(np.argmin(ways))]


def _in_box(field: Pixels, box: Box, finder: CellFinder) -> Cell | None:
    """The surest found cell whose centre lies in the box, if the border does not cut it."""
    lamp = find_lamp(field)
    for cell in finder.find(field, lamp, finder.look(field, lamp)):
        x, y = cell.centre
        if box[0] <= x <= box[2] and box[1] <= y <= box[3] and not cell.at_edge:
            return cell
    return None


def _kind_cell(field: Pixels, cell: Cell, label: float, set_name: str, type_name: str, name: str) -> KindCell:
    side = np.sqrt(area_px(cell) * 4 / np.pi) * STORED_SIDE_PX / STORED_CELL_PX
    crop, _, mask = cut_out(field, find_lamp(field), cell, side, STORED_SIDE_PX)
    return KindCell(crop, mask, label, set_name, type_name, name)
