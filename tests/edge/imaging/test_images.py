"""Reading image files: what is broken is refused, with the reason."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ImageError
from edge.imaging.decode import decode
from edge.imaging.files import read_image

KINDS = [
    (".bmp", []),
    (".png", []),
    (".jpg", []),
    (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
    (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    (".tiff", []),
    (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
]


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (45, 45, 3), np.uint8)


@pytest.mark.parametrize(("suffix", "options"), KINDS)
def test_an_image_cut_short_anywhere_is_refused(tmp_path: Path, suffix: str, options: list[int]) -> None:
    data = cv2.imencode(suffix, picture(), options)[1].tobytes()
    file = tmp_path / f"cell{suffix}"
    file.write_bytes(data)
    assert read_image(file).shape == (45, 45, 3)
    for length in (2, 20, 60, len(data) // 2, len(data) * 9 // 10, len(data) - 40, len(data) - 4):
        file.write_bytes(data[:length])
        with pytest.raises(ImageError) as refusal:
            read_image(file)
        assert str(file) in str(refusal.value)
        if suffix != ".tiff" and length >= 20:
            assert "truncated" in str(refusal.value)


def test_bytes_after_the_image_are_no_fault(tmp_path: Path) -> None:
    for suffix in (".bmp", ".png", ".jpg", ".webp"):
        file = tmp_path / f"cell{suffix}"
        file.write_bytes(cv2.imencode(suffix, picture())[1].tobytes() + bytes(100))
        assert read_image(file).shape == (45, 45, 3)


def test_the_end_of_a_thumbnail_is_not_the_end_of_a_jpeg() -> None:
    data = cv2.imencode(".jpg", picture())[1].tobytes()
    thumbnail = b"Exif\0\0" + data
    with_thumbnail = data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]
    assert decode(with_thumbnail).shape == (45, 45, 3)
    with pytest.raises(ImageError, match="truncated"):
        decode(with_thumbnail[:-100])


@pytest.mark.parametrize("bits", [8, 24, 32])
def test_bitmaps_of_every_depth_are_whole(bits: int) -> None:
    pixels = {8: picture()[..., 0], 24: picture(), 32: cv2.cvtColor(picture(), cv2.COLOR_BGR2BGRA)}[bits]
    data = cv2.imencode(".bmp", pixels)[1].tobytes()
    assert decode(data).shape == (45, 45, 3)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[:-8])


def test_text_named_as_an_image_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cell.bmp"
    file.write_text("this is no image\n" * 40)
    with pytest.raises(ImageError, match=r"cell\.bmp: not a readable image; give BMP, PNG"):
        read_image(file)
    file.write_bytes(b"")
    with pytest.raises(ImageError, match=r"cell\.bmp: the file is empty"):
        read_image(file)


def test_a_real_cell_cut_short_is_refused(cnmc: Path, tmp_path: Path) -> None:
    source = next((cnmc / "training_data" / "fold_1" / "hem").iterdir())
    file = tmp_path / "UID_H10_1_1_hem.bmp"
    cv2.imwrite(str(file), cv2.imread(str(source)))
    assert read_image(file).shape == (450, 450, 3)
    file.write_bytes(file.read_bytes()[:300_000])
    with pytest.raises(ImageError, match="truncated, it ends after 300000 bytes"):
        read_image(file)
