"""Image files: finding them in folders and reading them as frames."""

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from edge.errors import ImageError, InputError
from edge.imaging.frame import Pixels

SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})


def read_image(path: Path) -> Pixels:
    """Decode an image file: 16-bit to 8, grey to RGB, transparency dropped.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the file cannot be read, is cut short or is not an image that OpenCV knows.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    try:
        return decode(data)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def decode(data: bytes) -> Pixels:
    """As `read_image`, from the bytes of a file; its errors name no path."""
    if not data:
        raise ImageError("the file is empty")
    # Before decoding: how much of a cut image a decoder lets pass differs between its versions.
    if is_truncated(data):
        raise ImageError(f"truncated, it ends after {len(data)} bytes; copy it again from where it came from")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ImageError(f"not a readable image ({error.err})") from error
    if pixels is None:
        raise ImageError("not a readable image; give BMP, PNG, JPEG, WebP or TIFF")
    return pixels  # type: ignore[return-value]


def is_truncated(data: bytes) -> bool:
    """Does the file end before its own headers say? Of TIFF, and of what is no image, always False."""
    try:
        if data[:2] == b"BM":
            return len(data) < _bmp_end(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return not _png_has_end(data)
        if data[:3] == b"\xff\xd8\xff":
            return data.find(b"\xff\xd9", _jpeg_scan(data)) < 0
    except struct.error:  # not even the header is there
        return True
    return False


def _bmp_end(data: bytes) -> int:
    """The byte after the last pixel; of the compressed kinds, as far as the header gives a size."""
    offset, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = size = 0
    else:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
    if compression in (1, 2):  # run lengths
        return int(offset + size)
    row = (abs(width) * bits + 31) // 32 * 4
    # Some writers leave the padding of the last row out.
    return int(offset + row * (abs(height) - 1) + (abs(width) * bits + 7) // 8)


def _png_has_end(data: bytes) -> bool:
    position = 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position = position + int(length) + 12
        if kind == b"IEND":
            return position <= len(data)
    return False


def _jpeg_scan(data: bytes) -> int:
    """Where the first scan starts: an end marker before it belongs to a thumbnail."""
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:  # filling before a marker
            position += 1
            continue
        position = position + 2 + int(length)
        if marker == 0xFFDA or marker < 0xFF00:
            return position


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
