"""Whether training waits for its input. `python -m train.studies.throughput`: images per second of batches and of
training.

Both are timed in turn, since machines are noisy; only the ratio counts.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from train.data.dataset import Cell
from train.fit import recipe as recipes
from train.fit.batches import TrainingBatches
from train.fit.model import NO_WEIGHTS
from train.fit.recipe import Recipe
from train.fit.training import new_model


def measure(recipe: Recipe, seconds: float, rounds: int) -> tuple[list[float], list[float]]:
    """Images per second of the input pipeline alone and of training steps alone, alternately.

    Args:
        recipe: its crops are random pixels read through a memory map, as from the crop cache.
        seconds: of each measurement.
        rounds: measurements of each kind.
    """
    size = recipe.model.size
    cells = [Cell(str(i), "ALL" if i % 3 else "HEM", str(i % 9), "fold_0") for i in range(512)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "crops.npy"
        np.save(file, np.random.default_rng(0).integers(0, 256, (len(cells), size, size, 3), np.uint8))
        batches = TrainingBatches(np.load(file, mmap_mode="r"), cells, recipe, epoch=0)
        model = new_model(recipe, NO_WEIGHTS, len(batches))
        inputs, targets = batches[0]
        model.train_on_batch(inputs, targets)

        def train_step(_: int) -> int:
            model.train_on_batch(inputs, targets)
            return len(inputs)

        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            rates[0].append(_rate(lambda turn: len(batches[turn % len(batches)][0]), seconds))
            rates[1].append(_rate(train_step, seconds))
    return rates


def _rate(step: Callable[[int], int], seconds: float) -> float:
    started, done, turn = time.monotonic(), 0, 0
    while time.monotonic() - started < seconds:
        done, turn = done + step(turn), turn + 1
    return done / (time.monotonic() - started)


def main() -> None:
    """Print both rates of a recipe and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="leukoscope")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    recipe = recipes.changed(recipes.load(options.recipe), options.set)
    pipeline, network = measure(recipe, options.seconds, options.rounds)
    shown = f"{options.recipe} at {recipe.model.alpha:g}/{recipe.model.size}, {keras.backend.backend()}"
    print(
        f"{shown}: one thread of batches {np.median(pipeline):.0f} images/s, training {np.median(network):.0f}"
    )
    print(f"ratio {np.median(pipeline) / np.median(network):.1f}")


if __name__ == "__main__":
    main()
