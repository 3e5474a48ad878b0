"""The pooled features of pictures of cells, computed once and cached.

A regression on a frozen network asks for the same features in every fold of a cross-validation, and a
teacher judges the same pictures for every student. Kept beside the crops, by the network's weights.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import msgspec
import numpy as np

from edge.errors import LeukoscopeError
from edge.host.durable import replace_file
from edge.imaging.frame import Pixels
from train.data import crops as crop_cache
from train.data.dataset import Cell, Data, data_root
from train.fit.batches import Floats, network_input
from train.fit.recipe import ModelRecipe

log = logging.getLogger(__name__)

Picture = Callable[[Pixels, Cell], Pixels]

_BATCH = 32


def trunk(model: keras.Model) -> keras.Model:
    """The part of a `train.fit.model.mobilenet_m` up to its pooling: (N, S, S, 3) to (N, features)."""
    return keras.Model(model.input, model.get_layer("flatten").output)


def load(
    model: keras.Model,
    recipe: ModelRecipe,
    cells: Sequence[Cell],
    data: Data,
    *,
    name: str,
    picture: Picture | None = None,
) -> Floats:
    """The pooled features of one picture of each cell, from the cache where they are there.

    Args:
        model: a `train.fit.model.mobilenet_m`; its head plays no part.
        recipe: its size, crop and input range.
        cells: which, and in which order.
        data: the data set's folder.
        name: all that decides how pictures are altered; the same name means the same pictures.
        picture: alters a crop (S, S, 3) uint8 RGB; it may depend on the cell, but not on its place.

    Returns:
        (N, features) float32.

    Raises:
        LeukoscopeError: the cache cannot be written.
    """
    network = trunk(model)
    root, folder = data_root(data), crop_cache.default_folder().with_name("features")
    file = folder / f"{_digest(network, recipe, name)}.npz"
    keys = [_key(root, cell) for cell in cells]
    kept = _read(file)
    missing = [place for place, key in enumerate(keys) if key not in kept]
    if missing:
        log.info("features of %d pictures (%s)", len(missing), name.partition(" ")[0])
        wanted = [cells[place] for place in missing]
        rows = _compute(network, recipe, wanted, root, picture)
        kept |= {keys[place]: row for place, row in zip(missing, rows, strict=True)}
        try:
            _write(file, kept)
        except LeukoscopeError as error:
            raise LeukoscopeError(
                f"feature cache {error}; free some space, or set XDG_CACHE_HOME to another disk"
            ) from error
    return np.stack([kept[key] for key in keys])


def _compute(
    network: keras.Model, recipe: ModelRecipe, cells: Sequence[Cell], root: Path, picture: Picture | None
) -> Floats:
    crops = crop_cache.load(root, cells, recipe.geometry)
    rows = []
    for first in range(0, len(cells), _BATCH):
        span = range(first, min(first + _BATCH, len(cells)))
        pixels = [np.asarray(crops[place]) for place in span]
        if picture:
            pixels = [picture(crop, cells[place]) for crop, place in zip(pixels, span, strict=True)]
        rows.append(np.asarray(network.predict_on_batch(network_input(np.stack(pixels), recipe)), np.float32))
    return np.concatenate(rows)


def _digest(network: keras.Model, recipe: ModelRecipe, name: str) -> str:
    digest = hashlib.sha256(f"{name}\0{keras.backend.backend()}\0".encode())
    seen = (recipe.geometry, recipe.input_low, recipe.input_high, recipe.cell_mean, recipe.smooth_passes)
    digest.update(msgspec.json.encode(seen))
    for weights in network.get_weights():
        digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()[:32]


def _key(root: Path, cell: Cell) -> str:
    stat = (root / cell.path).stat()
    return f"{root.resolve()}/{cell.path} {stat.st_size} {stat.st_mtime_ns}"


def _read(file: Path) -> dict[str, Floats]:
    if not file.is_file():
        return {}
    with np.load(file) as kept:
        return dict(zip(kept["keys"].tolist(), kept["rows"], strict=True))


def _write(file: Path, kept: dict[str, Floats]) -> None:
    content = io.BytesIO()
    np.savez(content, keys=np.array(list(kept)), rows=np.stack(list(kept.values())))
    replace_file(file, content.getvalue())
