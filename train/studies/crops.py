"""Which crop size is best for a pre-trained network on new patients? `python -m train.studies.crops`.

No training: features of the frozen network, a logistic regression on them, cross-validation over patients,
repeated with other folds. Minutes where training would take hours, and steady enough to choose by.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from edge.imaging.preprocess import Geometry
from train.data import crops as crop_cache
from train.data.dataset import Cell, Data, data_root, scan
from train.data.split import cross_validation
from train.evaluate.predictions import figures_of, positives
from train.fit import recipe as recipes
from train.fit.batches import PlainBatches
from train.fit.model import mobilenet_m
from train.fit.probe import sample_weights

Floats = npt.NDArray[np.float64]


def frozen_features(
    recipe: recipes.Recipe, weights: str, data: Data, cells: Sequence[Cell], blocks: Sequence[int] = (13,)
) -> Floats:
    """(N, features) float64: the pooled outputs of some blocks of the pre-trained network for each cell."""
    geometry: Geometry = recipe.model.geometry
    crops = crop_cache.load(data_root(data), cells, geometry)
    model = mobilenet_m(recipe.model, weights)
    maps = [model.get_layer(f"conv_pw_{block}_relu").output for block in blocks]
    averages = [keras.layers.GlobalAveragePooling2D()(each) for each in maps]
    pooled = keras.Model(model.input, keras.layers.Concatenate()(averages) if averages[1:] else averages[0])
    return np.asarray(pooled.predict(PlainBatches(crops, cells, recipe.model), verbose=0), np.float64)


def held_out_scores(
    features: Floats, cells: Sequence[Cell], recipe: recipes.Recipe, folds: int, seed: int
) -> Floats:
    """(N,) the probability of ALL from a regression that has not seen the cell's patient."""
    position = {cell.path: i for i, cell in enumerate(cells)}
    is_all = positives(cells)
    scores = np.zeros(len(cells))
    for split in cross_validation(cells, folds, seed, val_share=0.0):
        train, test = ([position[path] for path in side] for side in (split.train, split.test))
        mean, spread = features[train].mean(axis=0), features[train].std(axis=0) + 1e-6
        weights = sample_weights([cells[i] for i in train], recipe.balance.subject_power)
        regression = LogisticRegression(C=recipe.fit.probe_c, max_iter=300)
        regression.fit((features[train] - mean) / spread, is_all[train], sample_weight=weights)
        scores[test] = regression.predict_proba((features[test] - mean) / spread)[:, 1]
    return scores


def main() -> None:
    """Print, for each crop, the AUC with each patient weighing the same, over several ways to fold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--recipe", default="leukoscope")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--crops", default="448,384,320,288,256")
    parser.add_argument("--blocks", default="13", help="of MobileNet, 1 to 13, whose outputs are pooled")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    cells = scan(options.data)
    base = recipes.changed(recipes.load(options.recipe), options.set)
    blocks = [int(block) for block in options.blocks.split(",")]
    print("crop   AUC by patient: mean, lowest, highest")
    for crop in options.crops.split(","):
        recipe = recipes.changed(base, [f"model.crop={crop}"])
        features = frozen_features(recipe, options.weights, options.data, cells, blocks)
        found = [
            figures_of(cells, held_out_scores(features, cells, recipe, options.folds, seed))["by_subject"][
                "auc"
            ]
            for seed in range(options.repeats)
        ]
        print(f"{crop:>4}   {np.mean(found):.3f}  {min(found):.3f}  {max(found):.3f}", flush=True)


if __name__ == "__main__":
    main()
