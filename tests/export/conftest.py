"""Networks and real cells, made once for all tests of the export."""

import os
from pathlib import Path
from typing import NamedTuple

import keras
import pytest

from edge.imaging.frame import Pixels
from tests.conftest import ROOT
from tests.export import networks
from train.evaluate.ensemble import joined
from train.fit.recipe import ModelRecipe

CASES = {
    "1.0/224 from 0 to 1": (1.0, 224, 0.0),
    "1.0/224 from -1 to 1": (1.0, 224, -1.0),
    "0.25/128 from 0 to 1": (0.25, 128, 0.0),
    "0.25/128 from -1 to 1": (0.25, 128, -1.0),
    "smoothed 0.25/128": (0.25, 128, -1.0),
    "two of 0.25/128": (0.25, 128, -1.0),
}


class Case(NamedTuple):
    """A network with crops that calibrate it and others that judge it."""

    recipe: ModelRecipe
    model: keras.Model
    sample: Pixels
    judged: Pixels


@pytest.fixture(scope="session")
def weights() -> Path:
    """The folder of ImageNet weights."""
    folder = Path(os.environ.get("LEUKOSCOPE_WEIGHTS", ROOT.parent / "shared" / "weights"))
    if not folder.is_dir():
        pytest.skip(f"no ImageNet weights at {folder}; name their folder in LEUKOSCOPE_WEIGHTS")
    return folder


def make_case(name: str, cnmc: Path, weights: Path) -> Case:
    alpha, size, low = CASES[name]
    recipe = networks.recipe(alpha, size, low, smooth_passes=2 if name.startswith("smoothed") else 0)
    cells = networks.some_cells(cnmc, 24)
    sample = networks.crops_of(cnmc, cells, size)
    judged = networks.crops_of(cnmc, networks.some_cells(cnmc, 8, offset=5), size)
    model = networks.network(recipe, weights, sample, [cell.label for cell in cells])
    if name.startswith("two"):
        model = joined([model, networks.another(model)])
    return Case(recipe, model, sample, judged)


@pytest.fixture(scope="session", params=CASES)
def case(request: pytest.FixtureRequest, cnmc: Path, weights: Path) -> Case:
    """Each of the cases in turn."""
    return make_case(request.param, cnmc, weights)


@pytest.fixture(scope="session")
def small(cnmc: Path, weights: Path) -> Case:
    """The smallest, in the range of its ImageNet training."""
    return make_case("0.25/128 from -1 to 1", cnmc, weights)
