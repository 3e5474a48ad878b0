"""The gate that tells lymphoid cells from others: its network, its training, its thresholds."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from edge.imaging.field.lamp import WHITE_LEVELS
from edge.imaging.frame import Pixels
from edge.model.fields import KIND_SIDE_PX, kind_picture
from train.fields.kind_cells import LYMPHOID, OTHER, STORED_SIDE_PX, KindCell

log = logging.getLogger(__name__)

BATCH = 32
PEAK_RATE = 2e-3
LABEL_SMOOTHING = 0.05
MARGIN_LOGITS, UNCLEAR_LOGITS = 0.1, 0.5
"""Room above the last lymphoid cell, and the width of the band between "lymphoid" and "other"."""

GROUP_SHARES = {
    ("typed", LYMPHOID): 0.14,
    ("pbc", LYMPHOID): 0.08,
    ("raabin", LYMPHOID): 0.13,
    ("cnmc", LYMPHOID): 0.04,
    ("pasted", LYMPHOID): 0.12,
    ("typed", OTHER): 0.24,
    ("pbc", OTHER): 0.05,
    ("raabin", OTHER): 0.17,
    ("nothing", OTHER): 0.04,
}
"""What a batch is made of. C-NMC has lymphoid cells only: with a larger share the network would learn C-NMC's look
instead."""


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


def scores(run: Any, pictures: Iterable[Pixels]) -> npt.NDArray[np.float32]:
    """The logit of "other" of each picture; `run` is `edge.model.network.Network.run`."""
    return np.array([float(run(picture[None]).ravel()[0]) for picture in pictures], np.float32)


def fixed_size(model: keras.Model) -> keras.Model:
    """The same network, as it is exported."""
    copy = gate()
    copy.set_weights(model.get_weights())
    return copy


def thresholds(logits: npt.NDArray[np.float32], cells: list[KindCell], kept: float) -> dict[str, float]:
    """Where "lymphoid" ends and "other" begins.

    "Lymphoid" ends a little above the logit that this share of the lymphoid cells of each set does not exceed.
    """
    by_set: dict[str, list[float]] = defaultdict(list)
    for logit, cell in zip(logits, cells, strict=True):
        if cell.label == LYMPHOID:
            by_set[cell.set].append(float(logit))
    end = max(sorted(values)[math.ceil(kept * len(values)) - 1] for values in by_set.values()) + MARGIN_LOGITS
    return {"lymphoid_below": round(end, 3), "other_above": round(end + UNCLEAR_LOGITS, 3)}
