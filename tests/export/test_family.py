"""The table of a family, from the files alone."""

from pathlib import Path

import pytest
from tiny_model import CARD, flatbuffer, manifest, write_tiny

from edge.model.file import read_model, write_model
from export.family import main
from export.latency import invoke_ms
from tests.conftest import ROOT

CROSS_VALIDATED = {
    "rows": [
        {
            "sigma": 0.0,
            "auc": 0.876,
            "sensitivity": 0.951,
            "specificity": 0.5,
            "intervals": {"auc": [0.77, 0.961], "sensitivity": [0.92, 0.98], "specificity": None},
        }
    ]
}


def test_every_file_has_its_row_and_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = tmp_path / "shipped.tflite"
    metrics = {
        "cross-validation over subjects": CROSS_VALIDATED,
        "test side of a split by image": {"another model of the same method": {"accuracy": 0.951}},
    }
    written = manifest(name="shipped", refer_below=0.62, metrics=metrics, parity={"agreement": 0.9972})
    write_model(shipped, flatbuffer(), written, "# Shipped\n")
    bare = write_tiny(tmp_path / "bare.tflite").path
    out = tmp_path / "README.md"
    assert main([str(shipped), str(bare), "--out", str(out), "--runs", "5"]) == 0
    text = out.read_text()
    rows = {line.split("]")[0].removeprefix("| ["): line for line in text.splitlines() if "](" in line}
    assert "0.876 (0.770–0.961) | 0.95 (0.92–0.98) | 0.50 | 0.62 | " in rows["shipped"]
    assert "99.72% | 95.1%" in rows["shipped"] and "(shipped.md)" in rows["shipped"]
    assert "– | – | – | – | – | never" in rows["tiny"]
    assert "second opinion only" in text and "none was measured here" in text
    assert (tmp_path / "shipped.md").read_text() == "# Shipped\n"
    assert (tmp_path / "bare.md").read_text() == CARD


def test_a_file_that_is_no_model_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.tflite").write_text("no model at all")
    out = tmp_path / "README.md"
    assert main([str(tmp_path / "text.tflite"), "--out", str(out)]) == 2 and not out.exists()
    assert "not a TFLite model" in capsys.readouterr().err


def test_files_are_timed_in_turn(tmp_path: Path) -> None:
    files = [write_tiny(tmp_path / f"{name}.tflite").path for name in "ab"]
    durations = invoke_ms(files, runs=7)
    assert [len(times) for times in durations] == [7, 7] and min(map(min, durations)) > 0


def test_the_cards_and_the_table_beside_the_shipped_models_are_theirs() -> None:
    table = (ROOT / "models" / "README.md").read_text()
    files = sorted((ROOT / "models").glob("*.tflite"))
    assert files
    for file in files:
        assert file.with_suffix(".md").read_text() == read_model(file).card
        assert f"]({file.stem}.md)" in table
