"""Trains the cell finder on composed pictures."""

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.fields.compose import SIDE_PX, Composer, Cut
from train.fields.finder import TARGETS, finder, loss, targets
from train.fields.labelled import Field

log = logging.getLogger(__name__)

BATCH = 16
POOL = 1600
"""Pictures that are held; each is shown a few times, turned and mirrored anew, until a new one takes its place."""

REPLACED_A_STEP = 5
PEAK_RATE = 3e-3
LOG_STEPS = 100

_composer: Composer | None = None


def _start(fields: list[Field], cuts: list[Cut], seed: int) -> None:
    global _composer  # noqa: PLW0603 - one a process
    os.nice(5)
    _composer = Composer(fields, cuts, seed)


def _one(_: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    assert _composer is not None
    composed = _composer.compose()
    return composed.picture, targets(composed).astype(np.float16)


def train(
    fields: list[Field],
    cuts: list[Cut],
    steps: int,
    seed: int = 0,
    checkpoint: Path | None = None,
    start: Path | None = None,
) -> keras.Model:
    """Train for `steps` batches with Adam, the rate falling along a cosine.

    Args:
        fields: that train.
        cuts: more cells to paste.
        steps: of `BATCH` pictures.
        seed: of the pictures and the weights.
        start: weights to go on from, with half the rate; None for random ones.
        checkpoint: file that the weights are written to now and then.
    """
    keras.utils.set_random_seed(seed)
    tf.config.threading.set_intra_op_parallelism_threads(2)
    model = finder()
    peak = PEAK_RATE
    if start is not None:
        model.load_weights(start)
        peak = PEAK_RATE / 2
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 20, steps, 0.01, warmup_target=peak, warmup_steps=min(200, steps // 5)
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=10.0)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(pictures: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(wanted, model(tf.cast(pictures, tf.float32) / 128 - 1, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    started, total = time.monotonic(), 0.0
    for number, (pictures, wanted) in enumerate(_batches(fields, cuts, steps, seed), 1):
        total += float(step(tf.constant(pictures), tf.constant(wanted, tf.float32)))
        if number % LOG_STEPS == 0:
            log.info(
                "step %d of %d: loss %.4f, %.0f s",
                number,
                steps,
                total / LOG_STEPS,
                time.monotonic() - started,
            )
            total = 0.0
            if checkpoint is not None:
                model.save_weights(checkpoint)
    return model


def _batches(
    fields: list[Field], cuts: list[Cut], steps: int, seed: int
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Batches from a pool that another process renews."""
    random = np.random.default_rng(seed)
    side = SIDE_PX // 4
    pictures = np.zeros((POOL, SIDE_PX, SIDE_PX, 3), np.uint8)
    wanted = np.zeros((POOL, side, side, TARGETS), np.float16)
    context = multiprocessing.get_context("fork")
    with context.Pool(1, _start, (fields, cuts, seed)) as pool:
        made = pool.imap(_one, range(10**9), chunksize=4)
        filled = place = 0
        for _ in range(steps):
            wait = 2 * BATCH if filled == 0 else REPLACED_A_STEP
            for _ in range(wait):
                pictures[place], wanted[place] = next(made)
                place, filled = (place + 1) % POOL, min(filled + 1, POOL)
            chosen = random.integers(0, filled, BATCH)
            yield _mirrored(pictures[chosen], wanted[chosen], random)
        pool.terminate()


def _mirrored(
    pictures: npt.NDArray[np.uint8], wanted: npt.NDArray[np.float16], random: np.random.Generator
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A batch mirrored each way by chance; the mask's four planes change places with the picture."""
    if random.random() < 0.5:
        pictures, wanted = pictures[:, :, ::-1], wanted[:, :, ::-1]
        wanted = wanted[..., [1, 0, 3, 2, *range(4, TARGETS)]]
    if random.random() < 0.5:
        pictures, wanted = pictures[:, ::-1], wanted[:, ::-1]
        wanted = wanted[..., [2, 3, 0, 1, *range(4, TARGETS)]]
    return pictures, wanted
