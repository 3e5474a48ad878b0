"""Composed training pictures: real fields at any scale, real cells pasted on them, dirt, other stains, other lamps."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.field.lamp import WHITE_LEVELS
from edge.imaging.frame import Pixels
from train.fields.labelled import Field, Labels

SIDE_PX = 160
"""Side of a training picture."""

RED_PX, RED_SPREAD = 19.0, 0.25
"""Red cells of half of the training pictures are so wide, with this spread of the natural logarithm: the size at
which cells are looked for …"""

RULER_SHARE, RULER_RED_PX = 0.2, 11.0
"""… of this share of them so wide: the size at which the ruler is read …"""

RED_RANGE_PX = (5.0, 60.0)
ANY_SCALE_SHARE = 0.3
"""… and of this share of them anything between, as the first look at a field of unknown scale meets."""

ERASED_SHARE = 0.25
"""Of the fields; their white cells are painted over, so that the network learns fields without white cells."""

MAX_ENLARGED = 1.7
"""Maximum enlargement of a field over its size in memory: beyond it there is no more detail."""

SET_SHARES = {"phone": 0.3, "raabin": 0.22, "pbc": 0.18, "smears": 0.2, "platelets": 0.1}
PASTE_SHARE, TOUCH_SHARE, OTHER_SET_SHARE = 0.5, 0.4, 0.35
MAX_PASTED = 7
DIRT_SHARE, SMUDGE_SHARE, RIM_SHARE, JPEG_SHARE = 0.35, 0.15, 0.12, 0.4


@dataclass(frozen=True)
class Cut:
    """A white cell cut out of its field: picture, mask 0 or 1, width of its field's red cells in pixels."""

    picture: Pixels
    mask: npt.NDArray[np.uint8]
    red_px: float
    set: str


@dataclass
class Composed:
    """One training picture.

    Attributes:
        picture: (SIDE_PX, SIDE_PX, 3) uint8 RGB.
        cells: (SIDE_PX, SIDE_PX) int16: 0 between the cells, another number in each white cell.
        red_px: width of its red cells.
        outlined: whether the cells have outlines.
    """

    picture: Pixels
    cells: Labels
    red_px: float
    outlined: bool


class Composer:
    """Makes training pictures.

    Args:
        fields: real fields; of the set "platelets" those without white cells.
        cuts: cells to paste, beside those of the fields.
        seed: of all random choices.
    """

    def __init__(self, fields: list[Field], cuts: list[Cut], seed: int):
        self._random = np.random.default_rng(seed)
        self._sets: dict[str, list[Field]] = defaultdict(list)
        self._cuts: dict[str, list[Cut]] = defaultdict(list)
        for field in fields:
            self._sets[field.set].append(field)
        for cut in [*cuts, *(c for f in fields if f.outlined for c in cut_cells(f))]:
            self._cuts[cut.set].append(cut)
        names = [name for name in SET_SHARES if self._sets[name]]
        shares = np.array([SET_SHARES[name] for name in names])
        self._names, self._shares = names, shares / shares.sum()

    def compose(self) -> Composed:
        """One random training picture."""
        random = self._random
        name = str(random.choice(self._names, p=self._shares))
        drawn = random.random()
        if drawn < ANY_SCALE_SHARE:
            red = float(np.exp(random.uniform(*np.log(RED_RANGE_PX))))
        else:
            usual = RULER_RED_PX if drawn < ANY_SCALE_SHARE + RULER_SHARE else RED_PX
            red = float(np.exp(random.normal(np.log(usual), RED_SPREAD)))
        longest = max(f.red_px for f in self._sets[name]) * MAX_ENLARGED
        red = float(np.clip(red, RED_RANGE_PX[0], min(RED_RANGE_PX[1], longest)))
        picture, cells, outlined = self._background(name, red)
        if random.random() < PASTE_SHARE:
            self._paste_cells(picture, cells, name, red)
        if random.random() < DIRT_SHARE:
            self._dirt(picture, cells, red)
        if random.random() < SMUDGE_SHARE:
            self._smudge(picture, cells, red)
        return Composed(self._light(picture, cells), cells, red, outlined)

    def _background(self, name: str, red: float) -> tuple[Pixels, Labels, bool]:
        """A part of a field, or several fields of one set side by side where one is too small."""
        random = self._random
        picture = np.full((SIDE_PX, SIDE_PX, 3), WHITE_LEVELS, np.uint8)
        cells = np.zeros((SIDE_PX, SIDE_PX), np.int16)
        outlined = True
        first = self._turned(name, red)
        height, width = first[0].shape[:2]
        top = -int(random.integers(0, max(1, height - SIDE_PX + 1 if height > SIDE_PX else height)))
        start = -int(random.integers(0, max(1, width - SIDE_PX + 1 if width > SIDE_PX else width)))
        number = 0
        while top < SIDE_PX:
            left = start
            row_height = height
            while left < SIDE_PX:
                part, labels, good = first if number == 0 else self._turned(name, red)
                number += 100
                outlined &= good
                y0, x0 = max(top, 0), max(left, 0)
                y1, x1 = min(top + part.shape[0], SIDE_PX), min(left + part.shape[1], SIDE_PX)
                if y1 > y0 and x1 > x0:
                    picture[y0:y1, x0:x1] = part[y0 - top : y1 - top, x0 - left : x1 - left]
                    piece = labels[y0 - top : y1 - top, x0 - left : x1 - left]
                    cells[y0:y1, x0:x1] = np.where(piece > 0, piece + number, 0)
                left += part.shape[1]
                row_height = min(row_height, part.shape[0])
            top += row_height
        return picture, cells, outlined

    def _turned(self, name: str, red: float) -> tuple[Pixels, Labels, bool]:
        """A field at the wanted scale, turned by quarters and mirrored."""
        random = self._random
        field = self._sets[name][int(random.integers(len(self._sets[name])))]
        factor = red / field.red_px
        height, width = field.cells.shape
        size = (max(8, round(width * factor)), max(8, round(height * factor)))
        flags = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(field.picture, size, interpolation=flags)
        cells = cv2.resize(field.cells, size, interpolation=cv2.INTER_NEAREST)
        turns = int(random.integers(4))
        picture, cells = np.rot90(picture, turns), np.rot90(cells, turns)
        if random.random() < 0.5:
            picture, cells = picture[:, ::-1], cells[:, ::-1]
        if random.random() < ERASED_SHARE:
            picture, cells = _erased(picture, cells)  # type: ignore[arg-type]
        return picture, cells, field.outlined  # type: ignore[return-value]

    def _paste_cells(self, picture: Pixels, cells: Labels, name: str, red: float) -> None:
        random = self._random
        last: tuple[float, float, float] | None = None
        for number in range(1, 1 + int(random.integers(1, MAX_PASTED + 1))):
            chosen = name if self._cuts[name] and random.random() > OTHER_SET_SHARE else self._any_set()
            cut = self._cuts[chosen][int(random.integers(len(self._cuts[chosen])))]
            factor = red / cut.red_px * float(np.exp(random.normal(0, 0.1)))
            radius = float(np.sqrt(cut.mask.sum() / np.pi)) * factor
            if last is not None and random.random() < TOUCH_SHARE:
                angle = random.uniform(0, 2 * np.pi)
                way = (radius + last[2]) * random.uniform(0.82, 1.05)
                x, y = last[0] + way * np.cos(angle), last[1] + way * np.sin(angle)
            else:
                x, y = random.uniform(-0.3 * radius, SIDE_PX + 0.3 * radius, 2)
            _paste(picture, cells, cut, factor, float(random.uniform(0, 360)), (x, y), 20_000 + number)
            last = (float(x), float(y), radius)

    def _any_set(self) -> str:
        names = [name for name, cuts in self._cuts.items() if cuts]
        return str(self._random.choice(names))

    def _dirt(self, picture: Pixels, cells: Labels, red: float) -> None:
        """Specks and grains of stain: dark and violet as a nucleus, but small or ragged."""
        random = self._random
        layer = np.zeros(cells.shape, np.float32)
        for _ in range(int(random.integers(1, 5))):
            x, y = random.uniform(0, SIDE_PX, 2)
            grains = int(random.integers(1, 14))
            spread = red * random.uniform(0.1, 1.2)
            for _ in range(grains):
                at = (int(x + random.normal(0, spread)), int(y + random.normal(0, spread)))
                axes = (
                    max(1, round(red * random.uniform(0.03, 0.2))),
                    max(1, round(red * random.uniform(0.03, 0.2))),
                )
                cv2.ellipse(
                    layer, at, axes, float(random.uniform(0, 180)), 0, 360, float(random.uniform(0.4, 1)), -1
                )
        layer = cv2.GaussianBlur(layer, (0, 0), max(0.4, red * 0.03))  # type: ignore[assignment]
        layer[cells > 0] = 0
        density = random.uniform((0.4, 0.7, 0.2), (1.1, 1.5, 0.7))
        picture[:] = np.clip(picture * np.exp(-layer[..., None] * density), 0, 255)

    def _smudge(self, picture: Pixels, cells: Labels, red: float) -> None:
        """A burst nucleus or a cloud of stain: pale, torn, without an edge."""
        random = self._random
        noise = random.normal(0, 1, cells.shape).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), max(1.0, red * random.uniform(0.15, 0.5)))  # type: ignore[assignment]
        noise = np.clip(noise / (noise.std() + 1e-6), 0, 3)
        where = np.zeros(cells.shape, np.float32)
        centre = tuple(int(v) for v in random.integers(0, SIDE_PX, 2))
        axes = tuple(max(2, int(v)) for v in red * random.uniform(0.5, 2.5, 2))
        cv2.ellipse(where, centre, axes, float(random.uniform(0, 180)), 0, 360, 1.0, -1)
        where = cv2.GaussianBlur(where, (0, 0), max(1.0, red * random.uniform(0.3, 1.0)))  # type: ignore[assignment]
        layer = where * noise * random.uniform(0.1, 0.4)
        layer[cells > 0] = 0
        picture[:] = np.clip(picture * np.exp(-layer[..., None] * np.array((0.5, 1.0, 0.35))), 0, 255)

    def _light(self, picture: Pixels, cells: Labels) -> Pixels:
        """Another stain, another lamp, another lens, another camera."""
        random = self._random
        density = -np.log(np.maximum(picture.astype(np.float32), 2) / WHITE_LEVELS)
        mix = np.eye(3) + random.normal(0, 0.07, (3, 3))
        density = density @ (mix * np.exp(random.normal(0, 0.14, (3, 1)))).astype(np.float32)
        density *= float(np.exp(random.normal(0, 0.22)))
        white = WHITE_LEVELS * np.exp(random.normal(0, 0.025, 3)) * np.exp(random.normal(0, 0.05))
        x, y = np.meshgrid(np.linspace(-1, 1, SIDE_PX), np.linspace(-1, 1, SIDE_PX))
        slope = 1 + random.normal(0, 0.025) * x + random.normal(0, 0.025) * y
        lit = np.exp(-density) * white * slope[..., None]
        if random.random() < RIM_SHARE:
            lit, cells[:] = self._rim(lit, cells)
        if random.random() < 0.5:
            lit = cv2.GaussianBlur(lit, (0, 0), random.uniform(0.3, 1.2))
        lit += random.normal(0, random.uniform(0, 6), lit.shape)
        out: Pixels = np.clip(lit, 0, 255).astype(np.uint8)
        if random.random() < JPEG_SHARE:
            quality = int(random.integers(35, 95))
            jpeg = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            out = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)  # type: ignore[assignment]
        return out

    def _rim(self, lit: npt.NDArray[Any], cells: Labels) -> tuple[npt.NDArray[Any], Labels]:
        """The black rim of an eyepiece across a corner."""
        random = self._random
        radius = SIDE_PX * random.uniform(0.6, 2)
        angle = random.uniform(0, 2 * np.pi)
        way = radius - SIDE_PX * random.uniform(0.0, 0.45)
        centre = SIDE_PX / 2 - way * np.array((np.cos(angle), np.sin(angle)))
        y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
        inside = np.clip((radius - np.hypot(x - centre[0], y - centre[1])) / 2 + 0.5, 0, 1)
        return lit * inside[..., None] + 12 * (1 - inside[..., None]), np.where(inside > 0.5, cells, 0)


def cut_cells(field: Field) -> list[Cut]:
    """The white cells of a field that do not touch its border."""
    found = []
    for number in range(1, int(field.cells.max()) + 1):
        mask = (field.cells == number).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        inside = left > 1 and top > 1
        inside &= left + width < mask.shape[1] - 1 and top + height < mask.shape[0] - 1
        if width < 8 or height < 8 or not inside:
            continue
        part = np.s_[top - 1 : top + height + 1, left - 1 : left + width + 1]
        found.append(Cut(field.picture[part].copy(), mask[part].copy(), field.red_px, field.set))
    return found


def _erased(picture: Pixels, cells: Labels) -> tuple[Pixels, Labels]:
    """A field with its white cells painted over as background."""
    gone = cv2.dilate((cells > 0).astype(np.float32), np.ones((5, 5), np.uint8))
    gone = cv2.GaussianBlur(gone, (0, 0), 1.0)[..., None]
    return (picture * (1 - gone) + WHITE_LEVELS * gone).astype(np.uint8), np.zeros_like(cells)


def _paste(
    picture: Pixels,
    cells: Labels,
    cut: Cut,
    factor: float,
    angle: float,
    at: tuple[float, float],
    number: int,
) -> None:
    height, width = cut.mask.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, factor)
    matrix[:, 2] += (at[0] - width / 2, at[1] - height / 2)
    size = (picture.shape[1], picture.shape[0])
    source, alpha = cut.picture, cut.mask.astype(np.float32)
    if factor < 0.5:  # warpAffine skips pixels where it makes smaller
        small = (max(2, round(width * factor)), max(2, round(height * factor)))
        source = cv2.resize(source, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        alpha = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        matrix = cv2.getRotationMatrix2D((small[0] / 2, small[1] / 2), angle, 1.0)
        matrix[:, 2] += (at[0] - small[0] / 2, at[1] - small[1] / 2)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.7)  # type: ignore[assignment]
    over = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    share = cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR)
    picture[:] = picture + (over.astype(np.float32) - picture) * share[..., None] + 0.5
    cells[share > 0.5] = number
