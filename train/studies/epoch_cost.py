"""What an epoch of each network costs, from a few steps: `python -m train.studies.epoch_cost vgg16 yolov4`.

Processor time is what counts: it is the same beside other work, and on an idle machine of two cores the epoch lasts half
of it, a little more. What prepares the batches is not in it; `train.studies.throughput` measures that.
"""

import argparse
import time

import keras
import numpy as np

from train.fit import recipe as recipes
from train.fit.model import NO_WEIGHTS
from train.fit.recipe import NETWORKS, Recipe
from train.fit.training import new_model


def epoch_cost(recipe: Recipe, images: int, steps: int = 2) -> tuple[int, float, float]:
    """Parameters, and seconds of processor and of the clock for an epoch of so many images.

    Args:
        steps: that are timed, after one that is not.
    """
    size, batch = recipe.model.size, recipe.fit.batch
    model = new_model(recipe, NO_WEIGHTS, max(1, images // batch))
    low, high = recipe.model.input_low, recipe.model.input_high
    inputs = np.random.default_rng(0).uniform(low, high, (batch, size, size, 3)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[np.arange(batch) % 2]
    model.train_on_batch(inputs, targets)
    processor, clock = time.process_time(), time.monotonic()
    for _ in range(steps):
        model.train_on_batch(inputs, targets)
    each = images / (steps * batch)
    seconds = (time.process_time() - processor) * each, (time.monotonic() - clock) * each
    return int(model.count_params()), *seconds


def main() -> None:
    """Print one line a network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}; default: all")
    parser.add_argument("--recipe", default="leukoscope")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--images", type=int, default=2506, help="of an epoch (default: fold 1's training side)"
    )
    options = parser.parse_args()
    print(f"{'network':12} {'pixels':>6} {'parameters':>12} {'processor s':>12} {'clock s':>8}  an epoch")
    for name in options.networks or NETWORKS:
        recipe = recipes.changed(recipes.load(options.recipe), [f"model.network={name}", *options.set])
        parameters, processor, clock = epoch_cost(recipe, options.images)
        print(f"{name:12} {recipe.model.size:6} {parameters:12,} {processor:12.0f} {clock:8.0f}", flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
