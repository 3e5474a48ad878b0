"""The crop cache: every cell cut out and resized once, so that later epochs read no image files."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from edge.errors import InputError, LeukoscopeError
from edge.frame import Pixels
from edge.images import read_image
from edge.preprocess import Geometry, prepare
from train.dataset import Cell


def default_folder() -> Path:
    """Where crops are kept: `leukoscope/crops` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leukoscope" / "crops"


def load(
    root: Path,
    cells: Sequence[Cell],
    geometry: Geometry,
    *,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pixels:
    """The crops of some cells, from the cache where they are there, else made and kept.

    Args:
        root: the folder that the paths of the cells are relative to.
        cells: which, and in which order.
        geometry: crop and size.
        folder: of the cache; `default_folder()` where not given.
        progress: called with the number done and the number of all.

    Returns:
        (N, size, size, 3) uint8 RGB, mapped from the file.

    Raises:
        InputError: an image cannot be read; the message names every one of them, ten at most.
        LeukoscopeError: the cache cannot be written.
    """
    folder = folder or default_folder()
    file = folder / f"{_key(root, cells, geometry)}.npy"
    if not file.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _build(file, root, cells, geometry, progress)
        except OSError as error:
            raise LeukoscopeError(
                f"crop cache {folder}: {error.strerror}; make room or set XDG_CACHE_HOME to another disk"
            ) from error
    return np.load(file, mmap_mode="r")


def _key(root: Path, cells: Sequence[Cell], geometry: Geometry) -> str:
    digest = hashlib.sha256(msgspec.json.encode(geometry))
    for cell in cells:
        stat = (root / cell.path).stat()
        digest.update(f"\0{root.resolve()}\0{cell.path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]


def _build(
    file: Path,
    root: Path,
    cells: Sequence[Cell],
    geometry: Geometry,
    progress: Callable[[int, int], None] | None,
) -> None:
    shape = (len(cells), geometry.size, geometry.size, 3)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    crops = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    faults: list[str] = []

    def one(index: int) -> None:
        try:
            prepare(read_image(root / cells[index].path), geometry, out=crops[index])
        except LeukoscopeError as error:
            faults.append(str(error))

    try:
        # Take the room now: writing to a memory map on a full disk dies by SIGBUS, an allocation says so.
        with partial.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, partial.stat().st_size)
        with ThreadPoolExecutor() as pool:
            for done, _ in enumerate(pool.map(one, range(len(cells))), 1):
                if progress:
                    progress(done, len(cells))
        if faults:
            more = f" (and {len(faults) - 10} more)" if len(faults) > 10 else ""
            raise InputError("; ".join(sorted(faults)[:10]) + more)
        crops.flush()
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
