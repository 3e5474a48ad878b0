"""`classify` and `model` as a user meets them: summary, table, contact sheet, names of models."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import ROOT, SAMPLES, clean, leukoscope

from edge.model.file import read_model, write_model
from edge.model.installed import find_model

SHIPPED = "mobilenet_m_0_25_128"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples of each class, one file that is no image, a name that a spreadsheet and a page would obey."""
    folder = tmp_path_factory.mktemp("mixed")
    for label in ("all", "hem"):
        (folder / label).mkdir()
        for image in sorted((SAMPLES / label).iterdir())[:2]:
            (folder / label / image.name).write_bytes(image.read_bytes())
    (folder / "hem" / "=1+1 <script>\x1b[31m.png").write_bytes(b"no image")
    return folder


def test_the_summary_counts_by_folder_and_against_its_label(mixed: Path) -> None:
    done = leukoscope("classify", "all", "hem", cwd=mixed)
    err = clean(done, 1)
    rows = {
        line.split()[0]: line.split()[1:] for line in err.splitlines() if line and line.split()[-1].isdigit()
    }
    head = next(line for line in err.splitlines() if line.startswith("folder")).split()
    assert head == ["folder", "images", "ALL", "HEM", "refer", "right", "wrong", "unreadable"]
    assert rows["all"][0] == "2" and rows["hem"][0] == "3" and rows["total"][0] == "5"
    assert rows["hem"][-1] == rows["total"][-1] == "1"
    assert "not a diagnosis" in err and "\x1b" not in done.stdout + err
    assert len(done.stdout.splitlines()) == 4


def test_a_table_for_a_spreadsheet(mixed: Path) -> None:
    leukoscope("classify", ".", "--csv", "t.csv", "--quiet", cwd=mixed)
    rows = list(csv.DictReader((mixed / "t.csv").read_text("utf-8-sig").splitlines()))
    assert len(rows) == 5
    good = [row for row in rows if not row["error"]]
    assert all(float(row["p_all"]) + float(row["p_hem"]) == pytest.approx(1) for row in good)
    assert {row["label"] for row in good} == {"ALL", "HEM"}
    assert all(not value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())


def test_a_contact_sheet_is_one_page_with_every_picture(mixed: Path) -> None:
    leukoscope("classify", ".", "--html", "sheet.html", cwd=mixed)
    page = (mixed / "sheet.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "not a diagnosis" in page.lower() and "not readable" in page
    assert "<script" not in page and "\x1b" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_quiet_and_limit(mixed: Path) -> None:
    done = leukoscope("classify", "all", "--limit", 1, "--quiet", "--json", cwd=mixed)
    assert clean(done, 0) == ""
    assert len(done.stdout.splitlines()) == 1


def test_classify_with_the_settings_of_a_box_is_what_the_box_would_say(tmp_path: Path) -> None:
    small = tmp_path / "half.png"
    pixels = cv2.imread(str(next((SAMPLES / "all").iterdir())))
    cv2.imwrite(str(small), cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    (tmp_path / "box.toml").write_text('[model]\nfile = "mobilenet_m_0_25_128"\n[camera]\nscale = 0.5\n')
    words = ["classify", small, "--json", "--quiet"]
    plain = json.loads(leukoscope(*words, "--model", SHIPPED).stdout)
    scaled = json.loads(leukoscope(*words, "--config", tmp_path / "box.toml").stdout)
    whole = json.loads(
        leukoscope(*words[:1], next((SAMPLES / "all").iterdir()), *words[2:], "--model", SHIPPED).stdout
    )
    assert scaled["model"]["name"] == SHIPPED
    near, far = (abs(one["probabilities"]["ALL"] - whole["probabilities"]["ALL"]) for one in (scaled, plain))
    assert near < far


def test_models_have_names() -> None:
    listed = json.loads(leukoscope("model", "list", "--json").stdout)
    names = [row["name"] for row in listed]
    assert SHIPPED in names and sum(row["default"] for row in listed) == 1
    line = json.loads(leukoscope("classify", SAMPLES, "--limit", 1, "--json", "--model", names[0]).stdout)
    assert line["model"]["name"] == names[0]
    err = clean(leukoscope("classify", SAMPLES, "--model", "mobilenet_m_0_25_28"), 2)
    assert f"did you mean {SHIPPED}?" in err


def test_show_has_the_card_first_and_verify_speaks_json(tmp_path: Path) -> None:
    shown = leukoscope("model", "show", SHIPPED).stdout
    assert shown.startswith(f"# {SHIPPED}") and "## This file" in shown and len(shown.splitlines()) < 120
    assert json.loads(leukoscope("model", "show", SHIPPED, "--json").stdout)["name"] == SHIPPED
    done = leukoscope("model", "verify", f"models/{SHIPPED}.tflite", "--json")
    assert json.loads(done.stdout)["valid"] is True
    broken = tmp_path / "broken.tflite"
    broken.write_bytes((ROOT / "models" / f"{SHIPPED}.tflite").read_bytes()[:-300])
    done = leukoscope("model", "verify", broken, "--json")
    assert clean(done, 2) and json.loads(done.stdout)["valid"] is False


def test_noise_of_libraries_is_dropped_and_everything_else_passes(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    from edge.host.terminal.noise import without_noise

    with without_noise():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: this matters\n")
    assert capfd.readouterr().err == "ERROR: this matters\n"


def test_pictures_are_small(mixed: Path) -> None:
    from edge.classify.contact_sheet import thumbnail

    assert len(thumbnail(np.zeros((2000, 3000, 3), np.uint8))) < 20_000


def test_fields_are_counted_by_cell_and_numbered_in_table_page_and_heat_maps(tmp_path: Path) -> None:
    fields = tmp_path / "fields"
    fields.mkdir()
    for name in ("raabin_0448.jpg", "smear_00044.jpg"):
        (fields / name).write_bytes((ROOT / "samples" / "fields" / name).read_bytes())
    (fields / "z.png").write_bytes(b"no image")
    done = leukoscope(
        *("classify", "fields", "--field", "--csv", "t.csv", "--html", "f.html", "--explain", "maps"),
        cwd=tmp_path,
    )
    err = clean(done, 1)
    lines = leukoscope("classify", "fields", "--field", "--json", cwd=tmp_path).stdout.splitlines()
    cells = [cell for line in lines for cell in json.loads(line).get("cells", [])]
    asked = [cell for cell in cells if cell["kind"] in ("lymphoid", "unclear")]
    assert cells and len(asked) < len(cells)
    head = next(line for line in err.splitlines() if line.startswith("folder")).split()
    assert head == ["folder", "cells", "ALL", "HEM", "other", "refer", "unreadable"]
    assert "z.png" in err and "not a diagnosis" in err

    rows = list(csv.DictReader((tmp_path / "t.csv").read_text("utf-8-sig").splitlines()))
    assert [row["source"] for row in rows if row["error"]] == ["fields/z.png"]
    judged = [row for row in rows if row["cell"]]
    assert [[int(row[f"{side}_px"]) for side in ("left", "top", "width", "height")] for row in judged] == [
        cell["box"] for cell in cells
    ]
    assert sum(bool(row["p_all"]) for row in judged) == len(asked)

    page = (tmp_path / "f.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 and "not readable" in page
    assert page.count("other cell") == sum(cell["kind"] == "other" for cell in cells)
    assert len(list((tmp_path / "maps").iterdir())) == len(asked)


def test_whole_fields_without_field_are_pointed_out_and_cells_on_black_are_not(tmp_path: Path) -> None:
    fields = clean(leukoscope("classify", ROOT / "samples" / "fields", "--limit", "3", cwd=tmp_path), 0)
    assert "3 of 3 images are not single cells on black" in fields and "--field" in fields
    assert "--field" not in clean(leukoscope("classify", SAMPLES, "--limit", "3", cwd=tmp_path), 0)
    asked = leukoscope("classify", ROOT / "samples" / "fields", "--limit", "3", "--quiet", cwd=tmp_path)
    assert clean(asked, 0) == ""


def test_boxes_have_their_unit(tmp_path: Path) -> None:
    done = leukoscope("classify", ROOT / "samples" / "fields", "--field", "--limit", "1", cwd=tmp_path)
    boxes = [line for line in done.stdout.splitlines() if re.match(r" +\d+  ", line)]
    assert boxes and all(re.search(r"\d+x\d+ px at \d+,\d+", line) for line in boxes)


def test_a_strangers_model_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    shipped = read_model(find_model(SHIPPED))
    card = "# card\x1b]0;title\x07\n\x9b31m\u202ered\n"
    write_model(tmp_path / "theirs.tflite", shipped.flatbuffer, shipped.manifest, card)
    shown = leukoscope("model", "show", tmp_path / "theirs.tflite").stdout
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert shown.splitlines()[:2] == ["# card\\x1b]0;title\\x07", "\\x9b31m\\u202ered"]


def test_where_the_heat_maps_are_is_said(tmp_path: Path) -> None:
    done = leukoscope("classify", SAMPLES, "--limit", 2, "--explain", tmp_path / "maps")
    assert f"{tmp_path}/maps: heat maps of 2 images" in clean(done, 0)
    assert len(list((tmp_path / "maps").iterdir())) == 2
