"""The official release of C-NMC 2019: its manifest, its folders and the bytes of its images."""

import csv
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import InputError
from edge.imaging.frame import Pixels

_COLUMNS = ("path", "part", "name", "sha256", "bytes")

# 96 dots per inch, as in the originals of the three folds and of the final test.
_PIXELS_PER_METRE = 3779


@dataclass(frozen=True, slots=True)
class Original:
    """One image of the official release.

    Attributes:
        path: in the archive.
        part: "fold_0", "fold_1", "fold_2", "prelim" or "final".
        name: of the file; numbers in prelim and final.
        sha256: of the file, a 24-bit BMP.
        size: of the file in bytes.
    """

    path: str
    part: str
    name: str
    sha256: str
    size: int


Key = tuple[str, str]
"""Part and stem of a name in lower case: what a copy and its original have in common."""


def key(part: str, name: str) -> Key:
    """The key of an image; the file type and case of its name do not matter."""
    return part, Path(name).stem.lower()


def read_manifest(file: Path) -> dict[Key, Original]:
    """The official images by part and name.

    Raises:
        InputError: the file is missing or is not a manifest.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines, restval=""))
        originals = [
            Original(row["path"], row["part"], row["name"], row["sha256"].lower(), int(row["bytes"]))
            for row in rows
        ]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; give the manifest with --manifest") from error
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(
            f"{file}: not a manifest ({error}); expected a CSV of {', '.join(_COLUMNS)}"
        ) from error
    if not originals:
        raise InputError(f"{file}: the manifest names no image")
    return {key(original.part, original.name): original for original in originals}


def size_of(part: str) -> int:
    """Width and height of the official images of a part, pixels."""
    return 600 if part == "final" else 450


def bmp_bytes(pixels: Pixels) -> bytes:
    """The pixels as a 24-bit BMP with the header of the official ones.

    On the three folds this gives the bytes of the original, so that a copy kept in another format without
    loss can be checked. The originals of the preliminary test have a longer header that is not known.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, (3 * width + 3) // 4 * 4), np.uint8)
    rows[:, : 3 * width] = pixels[::-1, :, ::-1].reshape(height, -1)
    header = struct.pack("<2sIHHI", b"BM", 54 + rows.size, 0, 0, 54)
    dots = _PIXELS_PER_METRE
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, rows.size, dots, dots, 0, 0)
    return header + rows.tobytes()
