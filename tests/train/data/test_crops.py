"""The crop cache: what is asked for is cropped, once, and no more of a large folder than is needed."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.imaging.files import read_image
from edge.imaging.preprocess import Geometry, prepare
from train.data import crops
from train.data.dataset import Cell

GEOMETRY = Geometry(crop=48, size=24)


@pytest.mark.parametrize(("asked", "cropped"), [(2, 2), (5, 20), (20, 20)])
def test_of_a_folder_few_are_cropped_alone_and_many_with_all_the_others(
    asked: int, cropped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        picture = rng.integers(0, 256, (50, 50, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    cells = [Cell(f"{number}.png", "ALL", str(number), "") for number in reversed(range(asked))]
    seen: list[str] = []

    def noted(file: Path, **options: bool) -> np.ndarray:
        seen.append(file.name)
        return read_image(file, **options)

    monkeypatch.setattr(crops, "read_image", noted)
    for _ in range(2):  # the second time they come from the cache
        found = crops.load(tmp_path, cells, GEOMETRY, folder=tmp_path / "cache")
        assert len(seen) == cropped
        for cell, crop in zip(cells, found, strict=True):
            np.testing.assert_array_equal(crop, prepare(read_image(tmp_path / cell.path), GEOMETRY))
