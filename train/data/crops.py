"""The crop cache: every cell is cropped and resized once, so that later epochs read no image files."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from edge.errors import InputError, LeukoscopeError
from edge.host.durable import flush_folder
from edge.host.terminal.progress import progress
from edge.imaging.files import SUFFIXES, read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from train.data.dataset import Cell

_FEW = 4
"""Of a folder from which less than one image in so many is asked for, only those are cropped."""


def default_folder() -> Path:
    """Where crops are kept: `leukoscope/crops` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leukoscope" / "crops"


def load(
    root: Path,
    cells: Sequence[Cell],
    geometry: Geometry,
    *,
    folder: Path | None = None,
) -> Pixels:
    """The crops of some cells, from the cache if they are there, else made and cached.

    Args:
        root: the folder that the paths of the cells are relative to.
        cells: which, and in which order.
        geometry: crop and size.
        folder: of the cache; `default_folder()` where not given.

    Returns:
        (N, size, size, 3) uint8 RGB.

    Raises:
        InputError: an image cannot be read; the message names every one of them, ten at most.
        LeukoscopeError: the cache cannot be written.
    """
    folder = folder or default_folder()
    if not cells:
        return np.empty((0, geometry.size, geometry.size, 3), np.uint8)
    # Kept by folder of images, so that every split of a data set shares the same crops.
    parents = [Path(cell.path).parent for cell in cells]
    crops = np.empty((len(cells), geometry.size, geometry.size, 3), np.uint8)
    for parent in sorted(set(parents)):
        wanted = [i for i, own in enumerate(parents) if own == parent]
        names = sorted(
            path.name
            for path in (root / parent).iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and path.is_file()
        )
        own = {Path(cells[i].path).name for i in wanted}
        if len(own) * _FEW < len(names):  # as for a quick trial of a few cells, which need not wait for all
            names = [name for name in names if name in own]
        try:
            kept = _folder_crops(folder, root / parent, names, geometry)
        except OSError as error:
            raise LeukoscopeError(
                f"crop cache {folder}: {error.strerror}; free some space, or set XDG_CACHE_HOME to another disk"
            ) from error
        positions = {name: position for position, name in enumerate(names)}
        crops[wanted] = kept[[positions[Path(cells[i].path).name] for i in wanted]]
    return crops


def _folder_crops(
    cache: Path,
    images: Path,
    names: Sequence[str],
    geometry: Geometry,
) -> Pixels:
    digest = hashlib.sha256(msgspec.json.encode(geometry))
    for name in names:
        stat = (images / name).stat()
        digest.update(f"\0{images.resolve()}\0{name}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    file = cache / f"{digest.hexdigest()[:32]}.npy"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        _build(file, [images / name for name in names], geometry)
    kept: Pixels = np.load(file, mmap_mode="r")
    return kept


def _build(
    file: Path,
    images: Sequence[Path],
    geometry: Geometry,
) -> None:
    shape = (len(images), geometry.size, geometry.size, 3)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    crops = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    faults: list[str] = []

    def one(index: int) -> None:
        try:
            prepare(read_image(images[index], cut_allowed=True), geometry, out=crops[index])
        except LeukoscopeError as error:
            faults.append(str(error))

    try:
        # Allocate the space now: writing to a memory map on a full disk ends with SIGBUS, an allocation with an error.
        with partial.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, partial.stat().st_size)
        with progress("cropping", len(images)) as (step, _), ThreadPoolExecutor() as pool:
            for _done in pool.map(one, range(len(images))):
                step()
        if faults:
            more = f" (and {len(faults) - 10} more)" if len(faults) > 10 else ""
            raise InputError("; ".join(sorted(faults)[:10]) + more)
        crops.flush()
        partial.replace(file)
        flush_folder(file.parent)
    finally:
        partial.unlink(missing_ok=True)
