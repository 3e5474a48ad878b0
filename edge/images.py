"""Image files: finding them in folders and reading them as frames."""

import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from edge.errors import ImageError, InputError
from edge.frame import Pixels

SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})


def read_image(path: Path) -> Pixels:
    """Decode an image file: 16-bit to 8, grey to RGB, transparency dropped.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the file cannot be read or is not an image that OpenCV knows.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    if data.size == 0:
        raise ImageError(f"{path}: the file is empty")
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ImageError(f"{path}: not a readable image ({error.err})") from error
    if pixels is None:
        raise ImageError(f"{path}: not a readable image; give BMP, PNG, JPEG, WebP or TIFF")
    return pixels  # type: ignore[return-value]


def shown(path: Path) -> str:
    """A path as it can stand in JSON: bytes of a name that are no UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Every image of some files and folders: files as given, folders searched through in name order.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            images = _walk(path)
            if not images:
                raise InputError(f"{path}: no images in this folder; {', '.join(sorted(SUFFIXES))} are read")
            found += images
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return found


def _walk(folder: Path) -> list[Path]:
    images = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        images += [Path(parent, name) for name in files if Path(name).suffix.lower() in SUFFIXES]
    return sorted(images)
