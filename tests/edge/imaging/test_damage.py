"""Damaged pictures: none gives a verdict that it would not have without the damage."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ImageError
from edge.imaging.decode import decode
from edge.imaging.files import find_images
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier
from edge.model.file import read_model

SECTOR = 512
KINDS = {
    "bmp": (".bmp", []),
    "png": (".png", []),
    "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
    "progressive": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "optimised": (".jpg", [cv2.IMWRITE_JPEG_OPTIMIZE, 1]),
    "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
    "lossless webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "tiff": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
    "lzw": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, 5]),
    "deflate": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, 8]),
    "packbits": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, 32773]),
}
CELLS = 24


def damaged(data: bytes, rng: random.Random) -> dict[str, bytes]:
    size, cut = len(data), int(len(data) * rng.uniform(0.2, 0.8))
    start = max(1, int(size * rng.uniform(0.3, 0.6)) // SECTOR) * SECTOR
    length = min(rng.choice([SECTOR, 8 * SECTOR]), size - start)
    return {
        "cut": data[:cut],
        "cut, with an end marker": data[:cut] + b"\xff\xd9",
        "end of zeros": data[:cut] + bytes(size - cut),
        "second half of zeros": data[: size // 2] + bytes(size - size // 2),
        "end of ones": data[:cut] + b"\xff" * (size - cut),
        "hole of zeros": data[:start] + bytes(length) + data[start + length :],
        "hole of ones": data[:start] + b"\xff" * length + data[start + length :],
    }


def pixels_of(data: bytes) -> Pixels | None:
    try:
        return decode(data)
    except ImageError:
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_real_cell_has_no_verdict_that_it_would_not_have_whole(
    cnmc: Path, shipped_model: Path, kind: str
) -> None:
    classifier = Classifier(read_model(shipped_model))
    paths = random.Random(2).sample(find_images([cnmc / "training_data"]), CELLS)
    refused = 0
    for number, path in enumerate(paths):
        suffix, options = KINDS[kind]
        data = cv2.imencode(suffix, cv2.imread(str(path)), options)[1].tobytes()
        whole = classifier.classify(decode(data)).verdict
        for name, bad in damaged(data, random.Random(number)).items():
            pixels = pixels_of(bad)
            refused += pixels is None
            verdict = "refer" if pixels is None else classifier.classify(pixels).verdict
            assert verdict in ("refer", whole), (path.name, name)
    assert refused > 0.6 * 7 * CELLS  # holes in a black background change nothing


def cell_on_black() -> Pixels:
    picture = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(picture, (100, 100), 60, (120, 60, 140), -1)
    return picture


@pytest.mark.parametrize("suffix", [".bmp", ".tiff"])
@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_a_hole_in_raw_pixels_is_seen_and_a_frame_around_a_picture_is_none(suffix: str, fill: bytes) -> None:
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tiff" else []
    data = cv2.imencode(suffix, cell_on_black(), options)[1].tobytes()
    assert decode(data).shape == (200, 200, 3)
    middle = len(data) // 2
    with pytest.raises(ImageError, match="straight edge"):
        decode(data[:middle] + fill * 4096 + data[middle + 4096 :])
    lit = np.full((200, 200, 3), 200, np.uint8)
    lit[::2] -= 3
    framed = cv2.copyMakeBorder(lit, 40, 40, 30, 30, cv2.BORDER_CONSTANT, value=(fill[0],) * 3)
    assert decode(cv2.imencode(suffix, framed, options)[1].tobytes()).shape == (280, 260, 3)


def test_a_jpeg_is_read_to_the_same_level_as_opencv_reads_it() -> None:
    noise = np.random.default_rng(3).integers(0, 255, (30, 40, 3), np.uint8)
    picture = cv2.resize(noise, (333, 251), interpolation=cv2.INTER_CUBIC)
    for options in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_QUALITY, 60]):
        encoded = cv2.imencode(".jpg", picture, options)[1]
        np.testing.assert_array_equal(decode(encoded.tobytes()), cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def bomb(suffix: str, side: int) -> bytes:
    """A small file whose header asks for a huge picture."""
    data = bytearray(cv2.imencode(suffix, cell_on_black())[1].tobytes())
    if suffix == ".bmp":
        data[18:26] = side.to_bytes(4, "little") * 2
    elif suffix == ".png":
        data[16:24] = side.to_bytes(4, "big") * 2
    elif suffix == ".jpg":
        at = data.find(b"\xff\xc0") + 5
        data[at : at + 4] = side.to_bytes(2, "big") * 2
    return bytes(data)


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".jpg"])
def test_a_huge_picture_is_refused_before_it_takes_memory(suffix: str) -> None:
    with pytest.raises(ImageError, match="32000 x 32000 pixels, over"):
        decode(bomb(suffix, 32000))
