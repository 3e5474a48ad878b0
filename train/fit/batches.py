"""Batches of training images: order, noise and augmentation drawn from (seed, epoch, image) alone.

So a resumed training sees exactly the same images as an uninterrupted one.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence

import keras
import numpy as np
import numpy.typing as npt

from edge.imaging.balance import balanced
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import prepare
from train.data.dataset import LABELS, Cell, subject_group
from train.fit.augment import add_noise, augment, desaturate
from train.fit.recipe import BalanceRecipe, DistilRecipe, ModelRecipe, Recipe
from train.fit.shots import cell_size, shot

Floats = npt.NDArray[np.float32]

_FLOOR = 1e-6
"""Of a teacher's probability, before its logarithm."""


def scale_pixels(pixels: Pixels, recipe: ModelRecipe) -> Floats:
    """Pixels 0…255 to the network's input range.

    Args:
        pixels: (…, 3) uint8.
    """
    scaled = pixels.astype(np.float32)
    scaled *= (recipe.input_high - recipe.input_low) / 255
    scaled += recipe.input_low
    return scaled


def network_input(pixels: Pixels, recipe: ModelRecipe) -> Floats:
    """What the network sees of some crops: the cell's mean colour as the recipe has it, then scaled.

    Args:
        pixels: (N, S, S, 3) uint8 RGB.
    """
    return scale_pixels(balanced_crops(pixels, recipe), recipe)


def balanced_crops(pixels: Pixels, recipe: ModelRecipe) -> Pixels:
    """Crops with their cells' mean colour as the recipe has it, as they stand before the network's input.

    Args:
        pixels: (N, S, S, 3) uint8 RGB.
    """
    if recipe.cell_mean is None:
        return np.asarray(pixels)
    return np.stack([balanced(crop, recipe.cell_mean) for crop in pixels])


def one_hot(cells: Sequence[Cell]) -> Floats:
    """(N, 2) float32 in the order of `LABELS`."""
    return np.eye(len(LABELS), dtype=np.float32)[[LABELS.index(cell.label) for cell in cells]]


def blended(said: Floats, labels: Floats, distil: DistilRecipe) -> Floats:
    """What a student learns: a teacher's probabilities, softened, and the labels.

    Args:
        said: (…, 2) float32, the teacher's.
        labels: (…, 2) float32.
        distil: temperature and the labels' share.
    """
    logarithms = np.log(np.maximum(said, _FLOOR)) / distil.temperature
    softened = np.exp(logarithms - logarithms.max(axis=-1, keepdims=True))
    taught = (1 - distil.label_share) * softened / softened.sum(axis=-1, keepdims=True)
    return np.asarray(taught + distil.label_share * labels, np.float32)


def cell_number(cell: Cell) -> int:
    """A number that goes with the cell's file, wherever it stands in a list: for seeds."""
    return zlib.crc32(cell.path.encode())


def variant(pixels: Pixels, recipe: Recipe, cell: Cell, number: int) -> Pixels:
    """One of the pictures of a cell that a teacher judges and a student learns from.

    Drawn from the recipe's seed, the cell's file and the number alone: crops of the same cell for networks
    of other sizes come out turned the same way.

    Args:
        pixels: (S, S, 3) uint8 RGB.
    """
    # The fourth number keeps this apart from the other generators.
    rng = np.random.default_rng([recipe.fit.seed, number, cell_number(cell), 3])
    return augment(pixels, recipe.augment, rng)


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch of training batches.

    Args:
        crops: (N, S, S, 3) uint8 RGB, cut by the recipe's `training_geometry`.
        cells: the N cells of the crops.
        recipe: batch size, balancing, noise and augmentation.
        epoch: counts from 0.
        taught: (N, variants, 2) float32, what is learnt of each cell's variants, see `train.fit.distil`; labels
            without it.
        says: from a batch's inputs, (n, S, S, 3) float32, to what is learnt of them beside their labels, (n, 2) float32,
            where the recipe has a teacher that judges pictures as they are shown.
        workers: threads that prepare batches ahead.
    """

    def __init__(
        self,
        crops: Pixels,
        cells: Sequence[Cell],
        recipe: Recipe,
        epoch: int,
        *,
        taught: Floats | None = None,
        says: Callable[[Floats], Floats] | None = None,
        workers: int = 2,
    ):
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=8)
        self._crops, self._cells, self._recipe, self._epoch = crops, cells, recipe, epoch
        self._says = says
        self._variant = None if taught is None else epoch % recipe.distil.variants
        self._targets = one_hot(cells) if taught is None else taught[:, self._variant]
        rng = np.random.default_rng([recipe.fit.seed, epoch])
        shown = _drawn(cells, recipe.balance, rng) if recipe.balance.sampling == "subjects" else _each(cells)
        grey = [i for i in shown if cells[i].label == recipe.balance.grey_copies_of]
        images = np.array([(i, 0) for i in shown] + [(i, 1) for i in grey])
        self._images = images[rng.permutation(len(images))]
        sigmas = recipe.noise.sigma_levels or [0.0]
        self._sigmas = rng.permutation(np.resize(sigmas, len(images)))

    def __len__(self) -> int:
        return -(-len(self._images) // self._recipe.fit.batch)

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        size = self._recipe.fit.batch
        positions = range(index * size, min((index + 1) * size, len(self._images)))
        pixels = np.stack([self._image(position) for position in positions])
        inputs = network_input(pixels, self._recipe.model)
        inputs, targets = self._mixed(index, inputs, self._targets[self._images[list(positions), 0]])
        if self._says is None:
            return inputs, targets
        return inputs, blended(self._says(inputs), targets, self._recipe.distil)

    def _mixed(self, index: int, inputs: Floats, targets: Floats) -> tuple[Floats, Floats]:
        alpha = self._recipe.fit.mixup_alpha
        if not alpha:
            return inputs, targets
        # The third number keeps this apart from the generators of the images.
        rng = np.random.default_rng([self._recipe.fit.seed, self._epoch, index, 1])
        share = np.float32(rng.beta(alpha, alpha))
        other = rng.permutation(len(inputs))
        mixed, mixed_targets = (share * both + (1 - share) * both[other] for both in (inputs, targets))
        return mixed, mixed_targets

    def _image(self, position: int) -> Pixels:
        cell, grey = self._images[position]
        rng = np.random.default_rng([self._recipe.fit.seed, self._epoch, position])
        pixels = np.asarray(self._crops[cell])
        if self._variant is not None:
            # Noise last: the teacher has judged the picture without it.
            pixels = variant(pixels, self._recipe, self._cells[cell], self._variant)
            return add_noise(pixels, self._sigmas[position], rng)
        if grey:
            pixels = desaturate(pixels)
        pixels = add_noise(pixels, self._sigmas[position], rng)
        if self._recipe.noise.before_resizing:
            pixels = prepare(pixels, self._recipe.model.geometry)
        camera = self._recipe.camera
        pixels = augment(pixels, self._recipe.augment, rng, cell_size(camera, rng))
        return shot(pixels, camera, self._recipe.model.geometry, rng)


def _each(cells: Sequence[Cell]) -> npt.NDArray[np.intp]:
    return np.arange(len(cells))


def _drawn(cells: Sequence[Cell], balance: BalanceRecipe, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Positions of an epoch's images: equally many of each class, subjects by their size to a power.

    Drawn at even steps through the cells' summed shares, so that each cell comes as often as its share requires, plus
    or minus one.
    """
    draws = balance.draws or len(cells)
    chosen = []
    for label in LABELS:
        members = rng.permutation([i for i, cell in enumerate(cells) if cell.label == label])
        groups = [subject_group(cells[i].subject) for i in members]
        sizes = Counter(groups)
        shares = np.array([sizes[group] ** (balance.subject_power - 1) for group in groups])
        steps = (np.arange(draws // len(LABELS)) + rng.random()) * (shares.sum() / (draws // len(LABELS)))
        at = np.searchsorted(np.cumsum(shares), steps, side="right")
        chosen.append(members[np.minimum(at, len(members) - 1)])
    return np.concatenate(chosen)


class PlainBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Images as they are, for validation and tests, with noise if it is asked for.

    Args:
        crops: (N, S, S, 3) uint8 RGB.
        cells: the N cells of the crops.
        recipe: input scaling.
        noise_sigma_levels: standard deviation in 8-bit levels.
        seed: of the noise.
    """

    def __init__(
        self,
        crops: Pixels,
        cells: Sequence[Cell],
        recipe: ModelRecipe,
        *,
        noise_sigma_levels: float = 0.0,
        seed: int = 0,
        batch: int = 64,
    ):
        super().__init__(workers=1, use_multiprocessing=False)
        self._crops, self._recipe, self._batch = crops, recipe, batch
        self._targets = one_hot(cells)
        self._sigma, self._seed = noise_sigma_levels, seed

    def __len__(self) -> int:
        return -(-len(self._targets) // self._batch)

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        span = slice(index * self._batch, (index + 1) * self._batch)
        rng = np.random.default_rng([self._seed, index])
        pixels = add_noise(np.asarray(self._crops[span]), self._sigma, rng)
        return network_input(pixels, self._recipe), self._targets[span]
