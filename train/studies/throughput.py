"""Whether training waits for its input. `python -m train.studies.throughput`: images per second of batches and of
training; with `--fit` of whole epochs, beside Keras' own `fit` on the same images, ready in memory.

Both are timed in turn, since machines are noisy; only the ratio counts.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from edge.bench import drawn_images
from edge.imaging.preprocess import prepare
from train.data.dataset import Cell
from train.fit import recipe as recipes
from train.fit.batches import TrainingBatches
from train.fit.model import NO_WEIGHTS
from train.fit.recipe import Recipe
from train.fit.training import new_model

IMAGES = 512
DRAWN_PX = 450


def measure(recipe: Recipe, seconds: float, rounds: int) -> tuple[list[float], list[float]]:
    """Images per second of the input pipeline alone and of training steps alone, alternately.

    Args:
        recipe: its crops are drawn cells, read through a memory map, as from the crop cache.
        seconds: of each measurement.
        rounds: measurements of each kind.
    """
    with _drawn_batches(recipe) as batches:
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


def measure_fit(recipe: Recipe, rounds: int) -> tuple[list[float], list[float]]:
    """Images per second of epochs as `train` runs them, and of Keras' `fit` on the very same images, alternately.

    Args:
        recipe: as in `measure`; its noise and augmentation are drawn anew for the first, and lie ready for the second.
        rounds: epochs of each, after one of each that is not counted.
    """
    with _drawn_batches(recipe) as batches:
        model = new_model(recipe, NO_WEIGHTS, len(batches))
        made = [batches[number] for number in range(len(batches))]
        inputs, targets = (np.concatenate(part) for part in zip(*made, strict=True))

        def ours() -> None:
            model.fit(batches, epochs=1, shuffle=False, verbose=0)

        def plain() -> None:
            model.fit(inputs, targets, batch_size=recipe.fit.batch, epochs=1, verbose=0)

        rates: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds + 1):
            for epoch, own in zip((ours, plain), rates, strict=True):
                started = time.monotonic()
                epoch()
                if number:
                    own.append(len(inputs) / (time.monotonic() - started))
    return rates


@contextmanager
def _drawn_batches(recipe: Recipe) -> Iterator[TrainingBatches]:
    """One epoch of drawn cells on black, read through a memory map as from the crop cache."""
    drawn = [prepare(picture, recipe.training_geometry) for picture in drawn_images(DRAWN_PX, DRAWN_PX)]
    cells = [Cell(str(i), "ALL" if i % 3 else "HEM", str(i % 9), "fold_0") for i in range(IMAGES)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "crops.npy"
        np.save(file, np.stack([drawn[number % len(drawn)] for number in range(len(cells))]))
        yield TrainingBatches(np.load(file, mmap_mode="r"), cells, recipe, epoch=0)


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
    parser.add_argument("--fit", action="store_true", help="whole epochs, beside Keras' own fit")
    options = parser.parse_args()
    recipe = recipes.changed(recipes.load(options.recipe), options.set)
    if options.fit:
        ours, plain = (np.median(rates) for rates in measure_fit(recipe, options.rounds))
        print(
            f"{recipe.model.alpha:g}/{recipe.model.size}: train {ours:.0f} images/s, Keras' fit {plain:.0f}"
        )
        print(f"ratio {ours / plain:.2f}")
        return
    pipeline, network = measure(recipe, options.seconds, options.rounds)
    shown = f"{options.recipe} at {recipe.model.alpha:g}/{recipe.model.size}, {keras.backend.backend()}"
    print(
        f"{shown}: one thread of batches {np.median(pipeline):.0f} images/s, training {np.median(network):.0f}"
    )
    print(f"ratio {np.median(pipeline) / np.median(network):.1f}")


if __name__ == "__main__":
    main()
