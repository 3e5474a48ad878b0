"""White cells of a field, decoded from the finder's output; touching cells are separated."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.field.maps import (
    CELL_STRIDE_PX,
    HEAT,
    MASK,
    MASK_STRIDE_PX,
    SCALE,
    SIZE,
    SIZE_BASE_PX,
    STEPS_AN_OCTAVE,
)
from edge.imaging.field.outline import largest

Maps = npt.NDArray[np.float32]

HEAT_LOGIT, COARSE_HEAT_LOGIT = -0.45, -0.15
"""A position whose centre logit is less is no cell's centre: probabilities 0.39 and 0.46. More is asked of a field whose
red cells have few pixels of their own: grains of stain look like small cells there."""

COARSE_RED_PX = 25.0
"""Red cells of a coarse field are narrower, pixels of the field."""

SAME_CELL_PART = 0.62
"""A centre within this part of a stronger cell's half width and half height belongs to that cell."""

REACH = 1.35
"""A cell's pixels lie within this many of its half widths and half heights."""

MIN_FILLED = 0.35
"""A cell whose mask fills less than this part of its ellipse is drawn as the ellipse."""

MIN_WIDTH_IN_REDS = 0.9
"""What is narrower than this part of a red cell is a platelet or a grain of stain, unless the border cuts it."""

EDGE_IN_REDS = 0.12
"""A cell whose box comes so near to the border, in widths of a red cell, is cut by it."""

MASK_LOGIT = np.float32(-0.4)
"""A position whose mask logit is less lies outside of every cell."""

PIECE_LOGIT = np.float32(-2.0)
"""What takes the place of the logits of a cell's pieces apart from its largest: they may belong to it."""

NOTHING = np.float32(-8.0)

_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Cell:
    """One white cell of a field.

    Attributes:
        box: left, top, width and height in pixels of the field.
        certainty: 0…1, how sure the finder is.
        at_edge: the field's border cuts it.
        outline: (h, w) float32: over 0 within the cell, under 0 outside.
        outline_box: left, top, width and height that `outline` covers, in pixels of the field.
    """

    box: tuple[float, float, float, float]
    certainty: float
    at_edge: bool
    outline: npt.NDArray[np.float32]
    outline_box: tuple[float, float, float, float]

    @property
    def centre(self) -> tuple[float, float]:
        """x and y in pixels of the field."""
        return self.box[0] + self.box[2] / 2, self.box[1] + self.box[3] / 2


def length_px(steps: npt.NDArray[np.float32] | float) -> npt.NDArray[np.float64]:
    """What a plane of lengths means, in pixels of the finder's picture."""
    return SIZE_BASE_PX * np.exp2(np.asarray(steps, np.float64) / STEPS_AN_OCTAVE)


def red_cell_px(maps: Maps, lit: npt.NDArray[np.bool_] | None = None) -> float:
    """Width of the red cells in the finder's picture, by its plane of scale.

    Args:
        maps: the finder's output.
        lit: (h, w) bool: positions that count; None for all.
    """
    steps = maps[..., SCALE]
    chosen = steps[lit] if lit is not None and lit.any() else steps.ravel()
    # As np.median, in a third of the time.
    upper = chosen.size // 2
    middle = [upper] if chosen.size % 2 else [upper - 1, upper]
    return float(length_px(float(np.partition(chosen, middle)[middle].mean())))


def find_cells(
    maps: Maps,
    width: int,
    height: int,
    scale: float,
    red_px: float,
    threshold: float = HEAT_LOGIT,
    finer: tuple[Maps, float] | None = None,
) -> list[Cell]:
    """Every white cell that the finder's output shows, the surest first.

    Args:
        maps: (h, w, 8) float32 as `edge.imaging.field.maps` says.
        width, height: of the field itself in the finder's picture; beyond them it is padded.
        scale: pixels of the finder's picture for one of the field.
        red_px: width of a red cell in the finder's picture.
        threshold: logit of a centre.
        finer: the output for a larger picture of the same field, which outlines the cells, and its scale.
    """
    centres = _apart(_peaks(maps, width, height, threshold))
    if not centres:
        return []
    if finer is not None:
        factor = finer[1] / scale
        maps, scale, red_px = finer[0], finer[1], red_px * factor
        width, height = round(width * factor), round(height * factor)
        centres = [centre.enlarged(factor) for centre in centres]
    mask = _fine_mask(maps)[: -(-height // MASK_STRIDE_PX), : -(-width // MASK_STRIDE_PX)]
    reaches = [_reach(centre, *mask.shape) for centre in centres]
    cells = []
    for number, centre in enumerate(centres):
        own = _owned(number, centres, reaches)
        cell = _cell(mask, own, reaches[number], centre, (width, height), scale, EDGE_IN_REDS * red_px)
        widest = max(cell.box[2], cell.box[3]) * scale
        if cell.at_edge or widest >= MIN_WIDTH_IN_REDS * red_px:
            cells.append(cell)
    return cells


@dataclass(frozen=True, slots=True)
class _Centre:
    """Where a cell is and how large, in pixels of the finder's picture; its logit."""

    x: float
    y: float
    width: float
    height: float
    logit: float

    def enlarged(self, factor: float) -> "_Centre":
        """The same cell, scaled to a larger picture."""
        return _Centre(
            self.x * factor, self.y * factor, self.width * factor, self.height * factor, self.logit
        )


def _peaks(maps: Maps, width: int, height: int, threshold: float) -> list[_Centre]:
    heat = np.ascontiguousarray(maps[..., HEAT])
    highest = cv2.dilate(heat, _NEIGHBOURS)
    found = []
    for place in np.flatnonzero((heat > threshold) & (heat >= highest)).tolist():
        row, column = divmod(place, heat.shape[1])
        x, y = (column + 0.5) * CELL_STRIDE_PX, (row + 0.5) * CELL_STRIDE_PX
        if x > width or y > height:
            continue
        across, down = (
            SIZE_BASE_PX * 2.0 ** (steps / STEPS_AN_OCTAVE)
            for steps in maps[row, column, SIZE[0] : SIZE[1]].tolist()
        )
        found.append(_Centre(x, y, across, down, float(heat[row, column])))
    return sorted(found, key=lambda centre: -centre.logit)


def _apart(peaks: list[_Centre]) -> list[_Centre]:
    """The cells that do not duplicate one with a higher score."""
    kept: list[_Centre] = []
    for peak in peaks:
        near = (
            math.hypot((peak.x - other.x) / other.width, (peak.y - other.y) / other.height) * 2
            < SAME_CELL_PART
            or math.hypot((peak.x - other.x) / peak.width, (peak.y - other.y) / peak.height) * 2
            < SAME_CELL_PART
            for other in kept
        )
        if not any(near):
            kept.append(peak)
    return kept


def _fine_mask(maps: Maps) -> npt.NDArray[np.float32]:
    """(2h, 2w) float32: the mask's logits over `MASK_LOGIT`, its four planes side by side again."""
    rows, columns = maps.shape[:2]
    fine = np.empty((2 * rows, 2 * columns), np.float32)
    for plane in range(MASK[0], MASK[1]):
        np.subtract(maps[..., plane], MASK_LOGIT, out=fine[plane // 2 :: 2, plane % 2 :: 2])
    return fine


def _owned(
    number: int, centres: list[_Centre], reaches: list[tuple[int, int, int, int]]
) -> npt.NDArray[np.bool_]:
    """(h, w) bool: where in its reach a cell is the nearest one, in each cell's own size."""
    left, top, right, bottom = reach = reaches[number]
    way = _way(centres[number], reach)
    own = way < REACH**2
    for other, (x0, y0, x1, y1) in enumerate(reaches):
        if other != number and x0 < right and left < x1 and y0 < bottom and top < y1:
            others = _way(centres[other], reach)
            own &= way <= others if number < other else way < others
    return own


def _way(centre: _Centre, part: tuple[int, int, int, int]) -> npt.NDArray[np.float64]:
    """(h, w) float64: squared distance from a cell's middle in a part of the mask; 1 where its ellipse ends."""
    left, top, right, bottom = part
    x = (np.arange(left, right) + 0.5) * MASK_STRIDE_PX
    y = (np.arange(top, bottom) + 0.5) * MASK_STRIDE_PX
    across = ((x - centre.x) / centre.width * 2) ** 2
    return across + (((y - centre.y) / centre.height * 2) ** 2)[:, None]


def _reach(centre: _Centre, rows: int, columns: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what can belong to a cell, in positions of the mask."""
    across, down = REACH * centre.width / 2, REACH * centre.height / 2
    return (
        max(0, int((centre.x - across) / MASK_STRIDE_PX)),
        max(0, int((centre.y - down) / MASK_STRIDE_PX)),
        min(columns, int((centre.x + across) / MASK_STRIDE_PX) + 2),
        min(rows, int((centre.y + down) / MASK_STRIDE_PX) + 2),
    )


def _cell(
    mask: npt.NDArray[np.float32],
    own: npt.NDArray[np.bool_],
    reach: tuple[int, int, int, int],
    centre: _Centre,
    size: tuple[int, int],
    scale: float,
    edge_px: float,
) -> Cell:
    left, top, right, bottom = reach
    outline = np.where(own, mask[top:bottom, left:right], NOTHING)
    inside = largest((outline > 0).view(np.uint8))
    wanted = np.pi / 4 * centre.width * centre.height / MASK_STRIDE_PX**2
    if cv2.countNonZero(inside) < MIN_FILLED * min(wanted, float(np.count_nonzero(own))):
        outline = ((1 - _way(centre, reach)) * 4).astype(np.float32)
        inside = (outline > 0).view(np.uint8)
    else:
        np.copyto(outline, PIECE_LOGIT, where=(outline > 0) & (inside == 0))
    x, y, across, down = cv2.boundingRect(inside)
    if not across:  # a cell of which only a sliver is in the picture
        across, down = outline.shape[1], outline.shape[0]
    s = MASK_STRIDE_PX
    x0, y0 = (left + x) * s, (top + y) * s
    x1, y1 = min((left + x + across) * s, size[0]), min((top + y + down) * s, size[1])
    at_edge = min(x0, y0) < edge_px or x1 > size[0] - edge_px or y1 > size[1] - edge_px
    covered = (left * s / scale, top * s / scale, outline.shape[1] * s / scale, outline.shape[0] * s / scale)
    return Cell(
        box=(x0 / scale, y0 / scale, (x1 - x0) / scale, (y1 - y0) / scale),
        certainty=float(1 / (1 + np.exp(-centre.logit))),
        at_edge=at_edge,
        outline=outline,
        outline_box=covered,
    )
