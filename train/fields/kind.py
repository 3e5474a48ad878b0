"""The gate that tells lymphoid cells from others: its cells, its network, its training."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from edge.imaging.field.cells import Cell
from edge.imaging.field.cutout import area_px, cut_out
from edge.imaging.field.lamp import WHITE_LEVELS, find_lamp
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.fields import KIND_CELL_PX, KIND_SIDE_PX, kind_picture
from edge.model.finder import CellFinder
from train.fields.labelled import VALIDATION_PART, Listed, Side
from train.fields.lymphocytes import lymphocytes

log = logging.getLogger(__name__)

LYMPHOID, OTHER = 0.0, 1.0
LYMPHOID_TYPES = ("lymphocyte",)
NOT_FOUND_TYPES = ("platelet",)
"""Types that the finder does not take, and the gate is not asked about."""

STORED_SIDE_PX = 112
STORED_CELL_PX = 72.0

BATCH = 32
PEAK_RATE = 2e-3
LABEL_SMOOTHING = 0.05
MARGIN_LOGITS, UNCLEAR_LOGITS = 0.1, 0.5
"""Room above the last lymphoid cell, and the width of the band between "lymphoid" and "other"."""

GROUP_SHARES = {
    ("typed", LYMPHOID): 0.14,
    ("pbc", LYMPHOID): 0.08,
    ("raabin", LYMPHOID): 0.15,
    ("cnmc", LYMPHOID): 0.13,
    ("typed", OTHER): 0.24,
    ("pbc", OTHER): 0.05,
    ("raabin", OTHER): 0.17,
    ("nothing", OTHER): 0.04,
}
"""What a batch is made of. C-NMC has lymphoid cells only: with a larger share the network would learn C-NMC's look
instead."""


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


def of_typed(folder: Path, finder: CellFinder, side: Side) -> list[KindCell]:
    """The cell in the middle of every image in folders named by type; the last fifth of each validates."""
    found = []
    for part in sorted(p for p in folder.iterdir() if p.is_dir() and p.name not in NOT_FOUND_TYPES):
        label = LYMPHOID if part.name in LYMPHOID_TYPES else OTHER
        files = sorted(part.glob("*.jpg"))
        cut = round(len(files) * (1 - VALIDATION_PART))
        for file in files[:cut] if side == "train" else files[cut:]:
            field = read_image(file)
            cell = _middle(field, finder)
            if cell is not None:
                found.append(_kind_cell(field, cell, label, "typed", part.name, file.name))
    return found


def of_fields(listed: Iterable[Listed], finder: CellFinder, set_name: str) -> list[KindCell]:
    """Cells of the set `raabin` or `pbc`, told by the list of its lymphocytes."""
    yes, unsure = lymphocytes(set_name)
    found = []
    for field in listed:
        number = field.file.stem
        if field.set != set_name or number in unsure or not field.white:
            continue
        picture = read_image(field.file)
        label = LYMPHOID if number in yes else OTHER
        box = max(field.white, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
        lamp = find_lamp(picture)
        for cell in finder.find(picture, lamp, finder.look(picture, lamp)):
            x, y = cell.centre
            if box[0] <= x <= box[2] and box[1] <= y <= box[3] and not cell.at_edge:
                name = "lymphocyte" if label == LYMPHOID else "other"
                found.append(_kind_cell(picture, cell, label, set_name, name, field.name))
                break
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


def _kind_cell(field: Pixels, cell: Cell, label: float, set_name: str, type_name: str, name: str) -> KindCell:
    side = np.sqrt(area_px(cell) * 4 / np.pi) * STORED_SIDE_PX / STORED_CELL_PX
    crop, _, mask = cut_out(field, find_lamp(field), cell, side, STORED_SIDE_PX)
    return KindCell(crop, mask, label, set_name, type_name, name)


def gate() -> keras.Model:
    """(N, 80, 80, 3) float32 in -1…1 to (N, 1) float32: the logit of "other"."""
    image = keras.Input((KIND_SIDE_PX, KIND_SIDE_PX, 3))
    x = image
    for filters, strides in ((16, 2), (24, 1), (32, 2), (40, 1), (56, 2), (64, 1), (96, 2), (96, 1)):
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.97)(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(image, layers.Dense(1, name="other")(x), name="gate")


def altered(cell: KindCell, random: np.random.Generator) -> Pixels:
    """A cell turned, mirrored, cut a little otherwise, under another stain, lamp and lens; as the gate sees it."""
    mask = cell.mask
    grown = int(random.integers(-3, 4))
    if grown:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(grown) + 1,) * 2)
        mask = (cv2.dilate if grown > 0 else cv2.erode)(mask, kernel)  # type: ignore[assignment]
        mask = mask if mask.any() else cell.mask
    picture = cell.picture
    if cell.set == "cnmc":
        mask = cv2.bitwise_and(mask, (cell.picture.max(axis=2) > 0).astype(np.uint8))  # type: ignore[assignment]
    turn = cv2.getRotationMatrix2D(
        (STORED_SIDE_PX / 2 - 0.5,) * 2, random.uniform(0, 360), random.uniform(0.93, 1.07)
    )
    size = (STORED_SIDE_PX, STORED_SIDE_PX)
    picture = cv2.warpAffine(picture, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[assignment]
    mask = cv2.warpAffine(mask, turn, size, flags=cv2.INTER_NEAREST)  # type: ignore[assignment]
    if random.random() < 0.5:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    small = kind_picture(_stained(picture, random), np.ascontiguousarray(mask))
    values = small.astype(np.float32)
    if random.random() < 0.5:
        values = cv2.GaussianBlur(values, (0, 0), random.uniform(0.3, 1.3))  # type: ignore[assignment]
    values += random.normal(0, random.uniform(0, 7), values.shape) * (small.max(axis=2, keepdims=True) > 0)
    return np.clip(values, 0, 255).astype(np.uint8)


def _stained(picture: Pixels, random: np.random.Generator) -> Pixels:
    density = -np.log(np.maximum(picture.astype(np.float32), 2) / WHITE_LEVELS)
    mix = np.eye(3) + random.normal(0, 0.09, (3, 3))
    density = density @ (mix * np.exp(random.normal(0, 0.22, (3, 1)))).astype(np.float32)
    density *= float(np.exp(random.normal(0, 0.28)))
    lit = np.exp(-density) * WHITE_LEVELS * np.exp(random.normal(0, 0.06))
    stained: Pixels = np.clip(lit, 0, 255).astype(np.uint8)
    return stained


def train(cells: list[KindCell], steps: int, seed: int = 0) -> keras.Model:
    """Train the gate; every batch holds the groups of `GROUP_SHARES`, and within each its types alike."""
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    groups: dict[tuple[str, float], dict[str, list[KindCell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        groups[cell.set, cell.label][cell.type].append(cell)
    keys = [key for key in GROUP_SHARES if groups[key]]
    shares = np.array([GROUP_SHARES[key] for key in keys])
    shares /= shares.sum()
    model = gate()
    schedule = keras.optimizers.schedules.CosineDecay(
        PEAK_RATE / 20, steps, 0.01, warmup_target=PEAK_RATE, warmup_steps=100
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=5e-4)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(pictures: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(tf.cast(pictures, tf.float32) / 128 - 1, training=True)[:, 0]
            soft = labels * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
            value = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(soft, logits))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    total = 0.0
    for number in range(1, steps + 1):
        batch = [_drawn(groups[keys[int(k)]], random) for k in random.choice(len(keys), BATCH, p=shares)]
        pictures = np.stack([altered(cell, random) for cell in batch])
        total += float(step(tf.constant(pictures), tf.constant([cell.label for cell in batch], tf.float32)))
        if number % 100 == 0:
            log.info("step %d of %d: loss %.4f", number, steps, total / 100)
            total = 0.0
    return model


def _drawn(types: dict[str, list[KindCell]], random: np.random.Generator) -> KindCell:
    names = list(types)
    cells = types[names[int(random.integers(len(names)))]]
    return cells[int(random.integers(len(cells)))]


def pictures_of(cells: Iterable[KindCell]) -> Pixels:
    """(N, 80, 80, 3) uint8 RGB: cells as the gate sees them, unaltered."""
    return np.stack([kind_picture(cell.picture, cell.mask) for cell in cells])


def scores(run: Any, cells: list[KindCell]) -> npt.NDArray[np.float32]:
    """The logit of "other" of each cell; `run` is `edge.model.network.Network.run`."""
    return np.array([float(run(picture[None]).ravel()[0]) for picture in pictures_of(cells)], np.float32)


def fixed_size(model: keras.Model) -> keras.Model:
    """The same network, as it is exported."""
    copy = gate()
    copy.set_weights(model.get_weights())
    return copy


def thresholds(logits: npt.NDArray[np.float32], cells: list[KindCell], kept: float) -> dict[str, float]:
    """Where "lymphoid" ends and "other" begins, chosen on cells that did not train.

    "Lymphoid" ends a little above the logit that this share of the lymphoid cells does not exceed.
    """
    lymphoid = sorted(float(v) for v, c in zip(logits, cells, strict=True) if c.label == LYMPHOID)
    end = lymphoid[math.ceil(kept * len(lymphoid)) - 1] + MARGIN_LOGITS
    return {"lymphoid_below": round(end, 3), "other_above": round(end + UNCLEAR_LOGITS, 3)}


__all__ = [
    "KIND_CELL_PX",
    "KindCell",
    "gate",
    "of_cnmc",
    "of_fields",
    "of_nothing",
    "of_typed",
    "scores",
    "train",
]
