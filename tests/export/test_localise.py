"""How much of the map lies on the cell, counted on drawings whose answer is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import CARD, manifest, write_tiny

from edge.model.file import ModelFile, write_model
from export.localise import _inside, cell_area, localisation
from tests.edge.model.test_explain import flatbuffer, outputs
from train.data.dataset import Cell


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    file = tmp_path_factory.mktemp("model") / "map.tflite"
    return write_model(file, flatbuffer(), manifest(name="with map", outputs=outputs()), CARD)


def draw(root: Path, name: str, squares: dict[tuple[int, int, int], slice]) -> Cell:
    """A 64×64 picture of squares on black, by colour (RGB) and place on the diagonal."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    for colour, place in squares.items():
        pixels[place, place] = colour
    file = root / "training_data" / "fold_0" / "all" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.ascontiguousarray(pixels[..., ::-1]))
    return Cell(file.relative_to(root).as_posix(), "ALL", "1", "fold_0")


def test_shares_of_drawn_cells(model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    red, blue = (240, 40, 40), (40, 40, 240)
    cells = [
        draw(tmp_path, "red.png", {red: slice(0, 48)}),  # all of the evidence is on the cell
        draw(tmp_path, "blue.png", {blue: slice(0, 32)}),
    ]
    found = localisation(model.path, tmp_path, cells, "drawn")
    assert found["cells"] == "drawn" and found["n"] == 2
    called_all, called_hem = found["by_verdict"]["ALL"], found["by_verdict"]["HEM"]
    assert called_all["n"] == called_hem["n"] == 1
    assert called_all["chance"] == pytest.approx(9 / 16) and called_hem["chance"] == pytest.approx(1 / 4)
    assert called_all["inside"] > 0.97 and called_hem["inside"] > 0.97
    assert called_all["peak_inside"] == called_hem["above_chance"] == 1.0
    # As it is, the network's bias for HEM counts on the black around the blue cell too.
    assert found["as_it_is"]["HEM"]["inside"] < 0.9


def test_area_and_mass_by_hand() -> None:
    crop = np.zeros((8, 8, 3), np.uint8)
    crop[:4, :2, 1], crop[4:, 4:, 2] = 200, 8  # the second is no brighter than a rim
    area = cell_area(crop, (2, 2))
    np.testing.assert_allclose(area, [[0.5, 0], [0, 0]])
    evidence = np.array([[3.0, 1.0], [-9.0, 0.0]], np.float32)
    assert _inside(evidence, area) == (pytest.approx(3 * 0.5 / 4), 0.5)
    assert _inside(-np.ones((2, 2), np.float32), area)[0] == 0.0  # nothing in favour points nowhere


def test_a_model_without_a_map_has_none(tmp_path: Path) -> None:
    assert localisation(write_tiny(tmp_path / "m.tflite").path, tmp_path, [], "none") == {}
