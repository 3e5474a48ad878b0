"""Drawings of stained blood: one white cell, and a whole smear field.

Everything is drawn at the pixel size of C-NMC 2019, whose pictures are 450 x 450 px, and as it is
before any optics: no blur, no gradient, no noise. All lengths are pixels of that size and all colours
are RGB in 8-bit levels, kept as float32 so that nothing is rounded before the sensor.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
"""(H, W) or (H, W, 3) float32."""
Points = npt.NDArray[np.float64]
"""(N, 2) float64: x and y of an outline around (0, 0), in pixels."""


@dataclass(frozen=True, slots=True)
class Stain:
    """The colours of one white cell: RGB in 8-bit levels."""

    nucleus: tuple[float, float, float]
    cytoplasm: tuple[float, float, float]
    edge: tuple[float, float, float]
    """Of the outermost pixels, where the cell is thinnest."""
    grain: tuple[float, float, float]
    """How much one unit of texture brightens chromatin."""


# Measured on 40 leukemic and 40 normal cells of C-NMC 2019, training fold 1: medians over the cells of
# each cell's own figure. Nucleus: below Otsu's threshold of green. Cytoplasm: the ring 5 to 12 px inside
# the outline. Edge: the ring 1.5 to 3 px inside it, carried on to the outline. Grain: the deviation of
# each channel at grains of 2 to 16 px over that of red. The two kinds differ by 5 levels of red, less
# than two cells of one kind do.
CNMC_BLAST = Stain((67, 26, 78), (74, 36, 88), (99, 60, 106), (1.0, 0.56, 0.45))
CNMC_HEALTHY = Stain((62, 24, 74), (66, 31, 84), (97, 58, 104), (1.0, 0.47, 0.42))

# Measured on 36 fields (640 x 480 px) of the BCCD smears, every eighth picture: medians over the fields.
# The white cell's edge, half blended with the background there, and its grain are set by eye.
SMEAR_WHITE_CELL = Stain((133, 102, 212), (176, 154, 196), (186, 172, 200), (1.5, 1.4, 0.9))
BACKGROUND_RGB = (194.0, 193.0, 189.5)
RED_CELL_RGB = (178.0, 145.0, 134.0)
PLATELET_RGB = (141.0, 115.0, 210.0)

# Diameter of the circle with the cell's area on the same 80 C-NMC cells: median, and half the way from
# the 10th to the 90th percentile over 1.28, which is the sigma of a normal distribution.
BLAST_DIAMETER_PX, BLAST_DIAMETER_SIGMA_PX = 213.0, 26.0
HEALTHY_DIAMETER_PX, HEALTHY_DIAMETER_SIGMA_PX = 179.0, 28.0
DIAMETER_RANGE_PX = (145.0, 260.0)
LONGEST_REACH_PX = 200.0
"""No bleb reaches farther from the middle, so that every cell lies within a picture of 450 px."""

# Brightness from cell to cell, as a factor: the 10th to 90th percentile of the nucleus is 0.92 to 1.08.
BRIGHTNESS_SIGMA = 0.06
# Amplitude of the outline's harmonics 2, 3, 4 … as a part of the radius; from the fifth on they fall as a
# power of their number. On the same 80 cells the first three are 0.07, 0.03 and 0.02. All are set lower
# here, because a real outline owes a part of them to a few blebs and bites, which are drawn one by one.
OUTLINE_HARMONICS = (0.06, 0.03, 0.016)
BLAST_ROUGHNESS, HEALTHY_ROUGHNESS = 0.008, 0.005
BLAST_BLEBS, HEALTHY_BLEBS = 3.0, 1.0
FINEST_HARMONIC = 32

# Texture: (spacing of its grains in px, deviation in levels of red), set so that the difference of
# Gaussians at sigma 1, 2, 4, 8 and 16 px deviates as on the real cells. Healthy chromatin is in clumps.
BLAST_CHROMATIN = ((4, 1.8), (9, 3.3), (20, 3.6), (46, 3.1))
HEALTHY_CHROMATIN = ((4, 1.1), (10, 2.4), (22, 3.9), (50, 3.3))

# A red cell is 7.2 µm wide and a lymphoblast about 12, so on the scale of C-NMC:
RED_CELL_RADIUS_PX, RED_CELL_RADIUS_SIGMA_PX = 63.0, 5.0
RED_CELL_COVER = 0.75
"""Area of all red cells over that of the field; they overlap, so less of it is hidden."""
PLATELETS_PER_MEGAPIXEL = 8.0
WHITE_CELLS_PER_MEGAPIXEL = 0.6
"""Beside the one in the centre."""

TURN = 2.0 * math.pi
_SUBPIXEL_BITS = 4  # cv2.fillPoly takes fixed point


def _outline(
    rng: np.random.Generator, radius: float, harmonics: tuple[float, ...], roughness: float
) -> Points:
    """A closed, irregular outline; each harmonic's amplitude varies as that of random waves does."""
    angle = np.linspace(0.0, TURN, 180, endpoint=False)
    order = np.arange(2, FINEST_HARMONIC + 1)
    size = roughness * (order / 5.0) ** -1.2
    size[: len(harmonics)] = harmonics
    size *= rng.rayleigh(0.85, order.size)
    waves = np.cos(angle[:, None] * order + rng.uniform(0.0, TURN, order.size))
    distance = radius * np.clip(1.0 + waves @ size, 0.5, 1.3)
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def _bulge(points: Points, towards: float, height: float, width: float) -> Points:
    """The outline moved outwards (or inwards, with a negative height) around one angle; width in radians."""
    angle = np.arctan2(points[:, 1], points[:, 0])
    away = np.angle(np.exp(1j * (angle - towards)))
    bulged: Points = points * (1.0 + height * np.exp(-((away / width) ** 2)))[:, None]
    return bulged


def _fill(points: Points, centre: tuple[float, float], shape: tuple[int, int]) -> Plane:
    """(H, W) float32: how much of each pixel the outline covers, 0 to 1."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.rint((points + centre) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    cover: Plane = mask.astype(np.float32) / np.float32(255)
    return cover


def _soften(plane: Plane, sigma_px: float) -> Plane:
    return cv2.GaussianBlur(plane, (0, 0), sigma_px)  # type: ignore[return-value]


def _grain(rng: np.random.Generator, shape: tuple[int, int], spacing_px: int) -> Plane:
    """(H, W) float32 of random texture, mean 0 and deviation about 1, with grains of one size."""
    rows, columns = shape[0] // spacing_px + 4, shape[1] // spacing_px + 4
    coarse = rng.standard_normal((rows, columns), np.float32) * np.float32(1.35)  # cubic flattens it
    fine = cv2.resize(coarse, None, fx=spacing_px, fy=spacing_px, interpolation=cv2.INTER_CUBIC)
    top, left = rng.integers(0, spacing_px, 2) + spacing_px
    cut: Plane = fine[top : top + shape[0], left : left + shape[1]]
    return cut


def _overlap(
    plane: Plane, patch: Plane, x: float, y: float
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Of a patch with its middle at (x, y): the part that lies on the plane, and where on it."""
    theirs, ours = [], []
    for middle, length, size in ((y, patch.shape[0], plane.shape[0]), (x, patch.shape[1], plane.shape[1])):
        start = round(middle - length / 2)
        first, last = min(max(start, 0), size), min(max(start + length, 0), size)
        theirs.append(slice(first - start, last - start))
        ours.append(slice(first, last))
    return (theirs[0], theirs[1]), (ours[0], ours[1])


def _add(plane: Plane, patch: Plane, x: float, y: float) -> None:
    """Add a patch to the plane with its centre at (x, y), clipped at the border."""
    theirs, ours = _overlap(plane, patch, x, y)
    plane[ours] += patch[theirs]


def _lay(picture: Plane, colours: Plane, coverage: Plane, x: float, y: float) -> None:
    """Draw a cell over the picture with its centre at (x, y), clipped at the border."""
    theirs, ours = _overlap(picture, colours, x, y)
    below = picture[ours]
    below += (colours[theirs] - below) * coverage[theirs][..., None]


def _spots(rng: np.random.Generator, reach: float, side: int, blast: bool) -> Plane:
    """(side, side) float32, levels of red: a blast's few pale nucleoli, and smaller gaps in the chromatin."""
    plane = np.zeros((side, side), np.float32)
    nucleoli = int(rng.integers(1, 4)) if blast and rng.random() < 0.75 else 0
    for number in range(nucleoli + int(rng.poisson(3.0))):
        is_nucleolus = number < nucleoli
        sigma = rng.uniform(5.0, 9.0) if is_nucleolus else rng.uniform(2.0, 4.5)
        height = rng.uniform(10.0, 24.0) if is_nucleolus else rng.uniform(4.0, 13.0)
        distance, angle = reach * 0.85 * math.sqrt(rng.random()), rng.uniform(0.0, TURN)
        half = int(3 * sigma)
        across = cv2.getGaussianKernel(2 * half + 1, sigma, cv2.CV_32F)
        along = cv2.getGaussianKernel(2 * half + 1, sigma * rng.uniform(0.7, 1.3), cv2.CV_32F)
        bump = across @ along.T
        x, y = side / 2 + distance * math.cos(angle), side / 2 + distance * math.sin(angle)
        _add(plane, bump * np.float32(height / bump.max()), x, y)
    return plane


def _chromatin(rng: np.random.Generator, side: int, reach: float, blast: bool) -> Plane:
    """(side, side) float32, levels of red: a nucleus's texture; bright grains stand out more than dark."""
    shade = _spots(rng, reach, side, blast)
    contrast = np.float32(math.exp(rng.normal(0.0, 0.2)))
    for spacing_px, deviation in BLAST_CHROMATIN if blast else HEALTHY_CHROMATIN:
        grain = _grain(rng, (side, side), spacing_px)
        shade += contrast * np.float32(deviation) * (grain + np.float32(0.18) * (grain * grain - 1))
    return shade


def _cell_outlines(rng: np.random.Generator, blast: bool) -> tuple[Points, Points]:
    """Outlines of the cell and of its nucleus: a blast's fills more of it and may be indented."""
    mean, sigma = (
        (BLAST_DIAMETER_PX, BLAST_DIAMETER_SIGMA_PX)
        if blast
        else (HEALTHY_DIAMETER_PX, HEALTHY_DIAMETER_SIGMA_PX)
    )
    radius = float(np.clip(rng.normal(mean, sigma), *DIAMETER_RANGE_PX)) / 2.0
    body = _outline(rng, radius, OUTLINE_HARMONICS, BLAST_ROUGHNESS if blast else HEALTHY_ROUGHNESS)
    for _ in range(int(rng.poisson(BLAST_BLEBS if blast else HEALTHY_BLEBS))):  # or bites
        body = _bulge(body, rng.uniform(0.0, TURN), rng.normal(0.0, 0.05), 0.05 + rng.exponential(0.15))
    body -= body.mean(axis=0)
    body *= min(1.0, LONGEST_REACH_PX / float(np.hypot(body[:, 0], body[:, 1]).max()))
    part = math.sqrt(rng.uniform(0.82, 0.93) if blast else rng.uniform(0.74, 0.87))
    inner = _outline(rng, 1.0, (0.02, 0.012, 0.008), 0.003)
    nucleus = body * part * np.hypot(inner[:, 0], inner[:, 1])[:, None]
    if blast and rng.random() < 0.35:
        nucleus = _bulge(nucleus, rng.uniform(0.0, TURN), rng.uniform(-0.16, -0.07), rng.uniform(0.2, 0.4))
    aside, angle = radius * (1.0 - part) * rng.uniform(0.2, 0.9), rng.uniform(0.0, TURN)
    nucleus += (aside * math.cos(angle), aside * math.sin(angle))
    return body, nucleus


def white_cell(rng: np.random.Generator, stain: Stain | None = None) -> tuple[Plane, Plane]:
    """A lymphoblast or a healthy lymphoid precursor, with equal probability.

    Args:
        rng: decides everything about it.
        stain: its colours; by default those of C-NMC 2019.

    Returns:
        Its colours, (side, side, 3) float32 RGB in levels, and its coverage, (side, side) float32, 0 to
        1; its middle is in the middle of both.
    """
    blast = bool(rng.random() < 0.5)
    stain = stain or (CNMC_BLAST if blast else CNMC_HEALTHY)
    body, nucleus = _cell_outlines(rng, blast)
    side = 2 * math.ceil(float(np.abs(body).max()) + 4.0)
    middle = (side / 2.0, side / 2.0)
    coverage = _fill(body, middle, (side, side))
    inside = _soften(_fill(nucleus, middle, (side, side)), 3.0)
    depth = cv2.distanceTransform((coverage > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    edge = np.exp(depth * np.float32(-1.0 / 3.0), dtype=np.float32)
    reach = float(np.hypot(nucleus[:, 0], nucleus[:, 1]).min())
    shade = _chromatin(rng, side, reach, blast) * (np.float32(0.35) + np.float32(0.65) * inside)
    tint = _grain(rng, (side, side), 90) * np.float32(1.6)  # the stain takes unevenly: magenta to indigo

    brightness = float(np.clip(rng.normal(1.0, BRIGHTNESS_SIGMA), 0.85, 1.15))
    hue = rng.normal(0.0, 0.02, 3)
    planes = []
    for channel in range(3):
        base, cytoplasm, rim = stain.nucleus[channel], stain.cytoplasm[channel], stain.edge[channel]
        plane = cytoplasm + (base - cytoplasm) * inside + stain.grain[channel] * shade
        plane += (1.0, 0.25, -0.15)[channel] * tint
        plane += (rim - plane) * edge
        planes.append(plane * np.float32(brightness * (1.0 + hue[channel])))
    return np.stack(planes, axis=-1), coverage


def _red_cell(rng: np.random.Generator) -> Plane:
    """(side, side) float32: thickness of a red cell, 1 at its ring and less in its pale middle."""
    radius = float(np.clip(rng.normal(RED_CELL_RADIUS_PX, RED_CELL_RADIUS_SIGMA_PX), 48.0, 78.0))
    outline = _outline(rng, radius, (0.07, 0.02, 0.01), 0.002)
    side = 2 * math.ceil(float(np.abs(outline).max()) + 5.0)
    middle = (side / 2.0, side / 2.0)
    body = _soften(_fill(outline, middle, (side, side)), 0.8)
    pallor_points = outline * rng.uniform(0.35, 0.58) + rng.normal(0.0, 0.05 * radius, 2)
    pallor = _soften(_fill(pallor_points, middle, (side, side)), 0.13 * radius)
    membrane = body * (1 - body) * np.float32(1.6)  # light is refracted at the edge, which looks darker
    thickness: Plane = body * (1 - np.float32(rng.uniform(0.15, 0.85)) * pallor) + membrane
    thickness *= 1 + np.float32(0.035) * _grain(rng, (side, side), 18)
    thickness *= np.float32(rng.uniform(0.65, 1.1))
    return thickness


def _red_cell_places(
    rng: np.random.Generator, width: int, height: int, whites: list[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Centres of the red cells: half are placed at random, half touch one already placed; none lie under a white
    cell."""
    count = math.ceil(RED_CELL_COVER * width * height / (math.pi * RED_CELL_RADIUS_PX**2))
    room = np.array(whites or [(-1e6, -1e6)])
    places: list[tuple[float, float]] = []
    for _ in range(count):
        x, y = rng.uniform(-30.0, width + 30.0), rng.uniform(-30.0, height + 30.0)
        distance = RED_CELL_RADIUS_PX * rng.uniform(1.2, 2.05)
        angle = rng.uniform(0.0, TURN)
        if places and rng.random() < 0.5:
            x, y = places[int(rng.integers(len(places)))]
            x, y = x + distance * math.cos(angle), y + distance * math.sin(angle)
        from_white = np.hypot(room[:, 0] - x, room[:, 1] - y).min()
        from_red = min((math.hypot(x - a, y - b) for a, b in places), default=math.inf)
        if (
            from_white > DIAMETER_RANGE_PX[0] / 2 + 1.15 * RED_CELL_RADIUS_PX
            and from_red > RED_CELL_RADIUS_PX
        ):
            places.append((x, y))
    return places


def _platelet(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A platelet: colours and coverage, as `white_cell` gives them."""
    outline = _outline(rng, rng.uniform(10.0, 19.0), (0.12, 0.08, 0.05), 0.03)
    side = 2 * math.ceil(float(np.abs(outline).max()) + 7.0)
    coverage = _soften(_fill(outline, (side / 2.0, side / 2.0), (side, side)), 1.8)
    coverage *= np.clip(np.float32(0.7) + np.float32(0.12) * _grain(rng, (side, side), 5), 0, 1)
    return np.full((side, side, 3), PLATELET_RGB, np.float32), coverage


def _white_places(rng: np.random.Generator, width: int, height: int) -> list[tuple[float, float]]:
    """Centres of the white cells: one in the centre of the field, the others far from it and from each other."""
    whites = [(width / 2 + rng.normal(0.0, 3.0), height / 2 + rng.normal(0.0, 3.0))]
    for _ in range(int(rng.poisson(WHITE_CELLS_PER_MEGAPIXEL * width * height / 1e6))):
        x, y = rng.uniform(0.0, width), rng.uniform(0.0, height)
        if min(math.hypot(x - a, y - b) for a, b in whites) > 1.3 * DIAMETER_RANGE_PX[1]:
            whites.append((x, y))
    return whites


def smear_field(
    rng: np.random.Generator, width: int, height: int, whites: list[tuple[float, float]] | None = None
) -> Plane:
    """A field of a stained smear with one white cell in the middle.

    Light goes through the red cells one after the other, so where two overlap they are darker.

    Args:
        rng: decides everything in it.
        width: px.
        height: px.
        whites: the middles of its white cells instead, px.

    Returns:
        (height, width, 3) float32 RGB in levels.
    """
    megapixels = width * height / 1e6
    whites = _white_places(rng, width, height) if whites is None else whites
    thickness = np.zeros((height, width), np.float32)
    for x, y in _red_cell_places(rng, width, height, whites):
        _add(thickness, _red_cell(rng), x, y)
    uneven = _grain(rng, (height // 4 + 1, width // 4 + 1), 40) * np.float32(0.006)
    thickness += cv2.resize(uneven, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(3)

    # Two overlapping cells are less dark than two layers would be: they flatten each other.
    thickness = np.tanh(thickness / np.float32(1.7)) * np.float32(1.0 / math.tanh(1.0 / 1.7))

    planes = []
    for clear, through in zip(BACKGROUND_RGB, RED_CELL_RGB, strict=True):
        planes.append(cv2.exp(thickness * np.float32(math.log(through / clear))) * np.float32(clear))
    picture: Plane = cv2.merge(planes)
    for _ in range(int(rng.poisson(PLATELETS_PER_MEGAPIXEL * megapixels))):
        _lay(picture, *_platelet(rng), rng.uniform(0.0, width), rng.uniform(0.0, height))
    for x, y in whites:
        colours, coverage = white_cell(rng, SMEAR_WHITE_CELL)
        _lay(picture, colours, _soften(coverage, 0.7), x, y)
    return picture
