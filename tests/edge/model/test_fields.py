"""Whole fields: real samples with known boxes, and every fault with its reason."""

import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from edge.imaging.field.ruler import Ruler
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.bundle import split
from edge.model.classifier import Classifier
from edge.model.fields import FieldClassifier, JudgedField
from edge.model.file import read_model
from edge.model.network import read_network, shipped_network

ROOT = Path(__file__).resolve().parents[3]
FIELDS = ROOT / "samples" / "fields"
MODEL = ROOT / "models" / "mobilenet_m_0_25_128.tflite"
EDGE_PX = 2


@pytest.fixture(scope="module")
def fields() -> FieldClassifier:
    model = read_model(MODEL)
    return FieldClassifier(model, Classifier(model))


def judged(fields: FieldClassifier, picture: Pixels) -> JudgedField:
    fields.forget()
    return fields.judge(picture)


def boxes() -> dict[str, list[tuple[float, ...]]]:
    """White cells by file, those at the border left out."""
    found = defaultdict(list)
    with (FIELDS / "boxes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["label"] == "WBC":
                found[row["file"]].append(tuple(float(row[key]) for key in ("x0", "y0", "x1", "y1")))
    return found


@pytest.mark.parametrize(
    "file", sorted(f for f in FIELDS.glob("*.jpg") if f.stem[:5] != "phone"), ids=lambda file: file.stem
)
def test_every_white_cell_of_the_samples_is_found(fields: FieldClassifier, file: Path) -> None:
    picture = read_image(file)
    height, width = picture.shape[:2]
    cells = judged(fields, picture).cells
    for left, top, right, bottom in boxes()[file.name]:
        hits = [c for c in cells if left <= c.cell.centre[0] <= right and top <= c.cell.centre[1] <= bottom]
        at_edge = min(left, top) <= EDGE_PX or right >= width - EDGE_PX or bottom >= height - EDGE_PX
        assert len(hits) == 1 or at_edge
    assert len([cell for cell in cells if not cell.cell.at_edge]) <= len(boxes()[file.name])


def test_most_cells_of_a_phones_field_are_found_and_nothing_else(fields: FieldClassifier) -> None:
    file = next(FIELDS.glob("phone_*.jpg"))
    cells = judged(fields, read_image(file)).cells
    truth = boxes()[file.name]
    in_boxes = [
        any(b[0] <= c.cell.centre[0] <= b[2] and b[1] <= c.cell.centre[1] <= b[3] for b in truth)
        for c in cells
    ]
    assert sum(in_boxes) >= len(truth) // 2
    assert all(in_boxes)


def test_the_ruler_is_that_of_the_red_cells(fields: FieldClassifier) -> None:
    with (FIELDS / "boxes.csv").open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["label"] == "RBC" and row["file"].startswith("smear_00031")
        ]
    widths = [np.sqrt((float(r["x1"]) - float(r["x0"])) * (float(r["y1"]) - float(r["y0"]))) for r in rows]
    seen = judged(fields, read_image(FIELDS / "smear_00031.jpg"))
    assert seen.red_cell_px == pytest.approx(float(np.median(widths)), rel=0.25)


def test_the_same_cells_are_found_at_another_size(fields: FieldClassifier) -> None:
    picture = read_image(FIELDS / "smear_00031.jpg")
    first = judged(fields, picture)
    for factor in (0.5, 3.0):
        other = judged(fields, cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
        assert len(other.cells) == len(first.cells)
        assert other.red_cell_px == pytest.approx(first.red_cell_px * factor, rel=0.2)


def test_what_the_classifier_sees_is_a_cell_on_black(fields: FieldClassifier) -> None:
    for cell in judged(fields, read_image(FIELDS / "smear_00031.jpg")).cells:
        assert cell.crop.shape == (128, 128, 3)
        assert cell.crop[:6].max() == 0 or cell.cell.at_edge
        assert cell.crop[50:78, 50:78].mean() > 30


def test_a_coarse_field_is_counted_and_not_classified(fields: FieldClassifier) -> None:
    cells = judged(fields, read_image(next(FIELDS.glob("phone_*.jpg")))).cells
    assert cells
    for cell in cells:
        assert cell.prediction.verdict == "refer"
        assert cell.prediction.reasons[0].startswith("too small to judge")
        assert cell.kind is None


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.zeros((480, 640, 3), np.uint8), "black"),
        (np.full((480, 640, 3), 255, np.uint8), "overexposed"),
        (np.full((480, 640, 3), 190, np.uint8), "empty"),
    ],
)
def test_a_field_without_cells_has_its_reason(fields: FieldClassifier, picture: Pixels, reason: str) -> None:
    seen = judged(fields, picture)
    assert seen.cells == []
    assert seen.reasons[0].startswith(reason)


def test_cells_out_of_focus_are_referred_for_it(fields: FieldClassifier) -> None:
    picture = cv2.GaussianBlur(read_image(FIELDS / "smear_00031.jpg"), (0, 0), 6)
    for cell in judged(fields, picture).cells:  # type: ignore[arg-type]
        assert cell.prediction.verdict == "refer"


def test_what_is_no_picture_is_refused(fields: FieldClassifier) -> None:
    with pytest.raises(InputError, match="uint8 RGB"):
        fields.judge(np.zeros((10, 10), np.uint8))


def test_the_ruler_is_smoothed_over_a_specimen_and_begins_anew_with_the_next() -> None:
    ruler = Ruler()
    assert ruler.known_px("one") == 0
    for red_px in (50.0, 52.0, 60.0):
        smoothed = ruler.measured(red_px, "one")
    assert smoothed == 52.0
    assert ruler.known_px("two") == 0
    assert Ruler(microns_per_pixel=0.1).measured(50.0, "one") == pytest.approx(75.0)


def test_a_network_for_another_task_or_an_altered_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for the task cells, not for kind"):
        read_network(shipped_network("cells"), "kind")
    data = bytearray(shipped_network("cells").read_bytes())
    data[len(split(bytes(data))[0]) // 2] ^= 1
    (tmp_path / "altered.tflite").write_bytes(data)
    with pytest.raises(InputError, match="altered"):
        read_network(tmp_path / "altered.tflite", "cells")


def test_classify_field_prints_one_json_line_a_field(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    (tmp_path / "a.jpg").write_bytes((FIELDS / "smear_00031.jpg").read_bytes())
    command = [
        sys.executable,
        "-m",
        "edge",
        "classify",
        str(tmp_path),
        "--field",
        "--json",
        "--model",
        str(MODEL),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert set(lines[0]) >= {"source", "cells", "ruler", "timings_ms"}
    assert set(lines[0]["ruler"]) == {"red_cell_px", "scale"}
    for cell in lines[0]["cells"]:
        assert set(cell) >= {"box", "kind", "verdict", "probabilities", "reasons"}
        assert len(cell["box"]) == 4
        assert cell["kind"] in ("lymphoid", "other", "unclear")
    assert set(lines[1]) == {"source", "error"}
