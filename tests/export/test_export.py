"""`leukoscope export` on small runs with real cells: the file, its parity and its card."""

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edge.cli.main import main
from edge.imaging.files import read_image
from edge.model.file import read_model, verify
from export.figures import agreement
from export.figures.parity import unseen_subjects
from tests.export.conftest import Case
from tests.export.networks import some_cells
from train.data.dataset import LABELS, Cell, data_root, scan, subject_group
from train.data.split import NO_FOLD, Split
from train.evaluate import camera
from train.fit.recipe import FitRecipe, Recipe
from train.fit.run import Progress, Run

FIT = FitRecipe(seed=1, batch=8, epochs=3, learning_rate=0.001, learning_rate_floor=0.0, schedule="cosine")


def make_run(folder: Path, small: Case, split: Split, fit: FitRecipe = FIT) -> Path:
    run = Run.create(
        folder, Recipe(model=small.recipe, fit=fit), split, {"recipe": "/x/made.toml", "weights": "w.h5"}
    )
    row = {"loss": 1.0, "seconds": 1.0}
    progress = Progress(epoch=3, learning_rate=0.001, best_epoch=3, best_val_loss=0.5, history=[row] * 3)
    run.save(small.model, progress, better=True)
    return folder


class Few(NamedTuple):
    """A data set of few real cells, and some of patients that `paths` never names."""

    root: Path
    all_cells: list[Cell]
    hem_cells: list[Cell]

    def paths(self, count: int, start: int) -> list[str]:
        """Half of either class, from one place in the list on."""
        half = slice(start, start + count // 2)
        return [cell.path for cell in (*self.all_cells[half], *self.hem_cells[half])]


@pytest.fixture
def few(cnmc: Path, tmp_path: Path) -> Few:
    cells = [cell for cell in some_cells(cnmc, 48) if cell.part != "prelim"]
    seen = {subject_group(cell.subject) for cell in cells}
    others = [
        cell for cell in scan(cnmc) if cell.part != "prelim" and subject_group(cell.subject) not in seen
    ]
    for cell in [*others[:3], *others[-3:], *cells]:
        file = tmp_path / "few" / cell.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to((data_root(cnmc) / cell.path).resolve())
    by_label = [[cell for cell in cells if cell.label == label] for label in LABELS]
    return Few(tmp_path / "few", *by_label)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.timeout(600)  # each converts a network, and a busy machine takes its time
@pytest.mark.usefixtures("cache")
def status_of(command: list[str]) -> object:
    """The exit status, also if the parser itself refuses the command."""
    try:
        return main(command)
    except SystemExit as asked:
        return asked.code


class TestExport:
    def test_a_run_with_a_test_side(
        self, small: Case, few: Few, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        split = Split(1, "image", 0, few.paths(24, 0), few.paths(4, 12), few.paths(12, 14))
        run = make_run(tmp_path / "run", small, split)
        out = tmp_path / "model.tflite"
        command = ["export", str(run), "--data", str(few.root), "--out", str(out), "--representative", "16"]
        assert main(command) == 0
        assert "on the 12 cells of the test side of fold 1, split by image" in capsys.readouterr().out
        model = read_model(out)
        verify(model)
        manifest = model.manifest
        shapes = {output.name: output.shape for output in manifest.outputs}
        assert shapes == {"probabilities": [1, 2], "activation_map": [1, 4, 4, 2], "features": [1, 256]}
        assert manifest.outputs[0].name == "probabilities"
        assert (manifest.input.low, manifest.input.high) == pytest.approx((-128 / 127.5, 127 / 127.5))
        assert len(manifest.training["representative"]) == 16
        assert manifest.training["recipe"] == "made.toml" and manifest.training["weights"] == "w.h5"
        assert manifest.parity["n"] == 12 and len(manifest.parity["layers"]) == 28
        assert manifest.parity["agreement"] == 1 - len(manifest.parity["flipped"]) / 12
        assert "test side of fold 1, split by image" in manifest.metrics
        assert "In a split by image, cells of one patient are in training and test set" in model.card
        self.check_referral(few, manifest.calibration, model.card)
        self.check_report(tmp_path / "model.report", out)
        self.check_agreement(run, out, few, capsys)

        first = out.read_bytes()
        assert main(command) == 0
        assert out.read_bytes() == first

    def check_referral(self, few: Few, calibration: dict[str, Any], card: str) -> None:
        """The validation side gave temperature and band, and the card warns that it knows its patients."""
        assert calibration["cells"] == "validation side of fold 1, split by image" and calibration["n"] == 4
        assert calibration["judged_by"] == "this file" and calibration["wanted_sensitivity"] == 0.95
        # few.paths draws from the same patients for every side.
        assert calibration["new_patients"] is False and "of patients that trained the model" in card
        assert f"temperature {calibration['temperature']:g};\na cell" in card

    def check_agreement(self, run: Path, out: Path, few: Few, capsys: pytest.CaptureFixture[str]) -> None:
        """`python -m export.figures.agreement`: every condition; the file nearly always says what the run says."""
        capsys.readouterr()
        assert agreement.main([str(run), str(out), "--data", str(few.root), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert list(found) == [condition.name for condition in camera.CONDITIONS]
        assert 85 <= min(each["agrees"] for each in found.values()) <= 100
        assert agreement.main([str(out.parent / "none"), str(out), "--data", str(few.root)]) == 2
        assert "no such model file" in capsys.readouterr().err

    def check_report(self, folder: Path, out: Path) -> None:
        manifest = read_model(out).manifest
        report = json.loads((folder / "report.json").read_text())
        assert report["flatbuffer_sha256"] == manifest.flatbuffer_sha256
        assert len(report["flips"]) == len(manifest.parity["flipped"])
        coverage = [point["coverage"] for point in report["risk_coverage"]]
        assert coverage[0] == 1 and coverage == sorted(coverage, reverse=True)
        at = [p for p in report["risk_coverage"] if p["refer_below"] == (manifest.refer_below or 0.5)]
        assert at == [manifest.calibration["with_band"]]
        for name in ("risk_coverage.png", "reliability.png", "layers.png"):
            pixels = read_image(folder / name)
            assert min(pixels.shape[:2]) > 200 and pixels.std() > 10  # a drawing, not an empty sheet
        text = (folder / "report.html").read_text()
        assert "not a diagnosis" in text and "Referrals" in text
        located = manifest.localisation["by_verdict"]["all cells"]
        assert located["n"] == 12 and 0 < located["chance"] < located["inside"] < 1

    def test_a_drop_over_the_limit_fails_and_says_where(
        self, small: Case, few: Few, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        split = Split(1, "image", 0, few.paths(12, 0), [], few.paths(6, 6))
        run = make_run(tmp_path / "run", small, split)
        out = tmp_path / "model.tflite"
        command = ["export", str(run), "--data", str(few.root), "--out", str(out), "--max-drop", "-100"]
        assert main(command) == 1
        message = capsys.readouterr().err
        assert "more than --max-drop -100; most is lost in conv" in message
        assert "dB of signal to noise before it" in message and "not for a box" in message

    def test_one_document_or_nothing_and_a_quick_trial(
        self, small: Case, few: Few, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        split = Split(1, "image", 0, few.paths(12, 0), [], few.paths(6, 6))
        run = make_run(tmp_path / "run", small, split)
        out = tmp_path / "model.tflite"
        command = ["export", str(run), "--data", str(few.root), "--out", str(out), "--max-drop", "100"]
        assert main([*command, "--limit", "4", "--json"]) == 0
        said = capsys.readouterr()
        told, model = json.loads(said.out), read_model(out)
        assert told["sha256"] == model.sha256 and told["bytes"] == out.stat().st_size
        assert told["parity"]["n"] == 4 and told["parity"]["cells"].endswith("image, 4 of 6")
        assert told["refused"] == [] and "Warning: --limit 4" in said.err
        assert main([*command, "--quiet"]) == 0
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", "")
        assert read_model(out).manifest.parity["n"] == 6
        assert main([*command[:-1], "-100", "--json"]) == 1
        said = capsys.readouterr()
        assert "more than --max-drop -100" in json.loads(said.out)["refused"][0]
        assert "not for a box" in said.err

    @pytest.mark.parametrize(
        ("option", "value", "named"),
        [
            ("--max-drop", "nan", "--max-drop: nan"),
            ("--max-drop", "inf", "--max-drop: inf"),
            ("--refer-sensitivity", "95", "--refer-sensitivity: 95"),
            ("--refer-sensitivity", "0", "--refer-sensitivity 0.0"),
            ("--out", ".", "--out .: this is a folder"),
            ("--data", "/no/such", "/no/such: no such folder"),
        ],
    )
    def test_limits_that_are_none_are_wrong_usage(
        self,
        small: Case,
        few: Few,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        option: str,
        value: str,
        named: str,
    ) -> None:
        run = make_run(tmp_path / "run", small, Split(1, "image", 0, few.paths(4, 0), [], few.paths(2, 4)))
        out = tmp_path / "model.tflite"
        command = ["export", str(run), "--data", str(few.root), "--out", str(out), option, value]
        assert status_of(command) == 2 and not out.exists()
        assert named in capsys.readouterr().err

    def test_a_folder_without_a_run_is_wrong_input(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["export", str(tmp_path), "--out", str(tmp_path / "m.tflite")]) == 2
        assert "give the folder of a `leukoscope train` run" in capsys.readouterr().err

    def test_a_model_trained_on_everything_with_evidence_from_elsewhere(
        self, small: Case, few: Few, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        split = Split(NO_FOLD, "none", 0, few.paths(20, 0), [], [])
        run = make_run(tmp_path / "run", small, split)
        evidence = tmp_path / "evidence.json"
        evidence.write_text(json.dumps({"text": "Five folds, 101 patients.", "auc": 0.9123, "folds": [1, 2]}))
        out = tmp_path / "model.tflite"
        command = ["export", run, "--data", few.root, "--out", out, "--evidence", evidence]
        assert main([*map(str, command), "--max-drop", "100"]) == 0
        assert "cells of the training (no others are left)" in capsys.readouterr().out
        manifest = read_model(out).manifest
        assert manifest.metrics["cross-validation over subjects"]["auc"] == 0.9123
        assert not any("training" in name for name in manifest.metrics)  # they judge nothing
        with zipfile.ZipFile(out) as archive:
            card = archive.read("card.md").decode()
        assert (
            "all 20 images of C-NMC 2019" in card and "**no cell is left to judge this very file on**" in card
        )
        assert "Five folds, 101 patients." in card and "- auc: 0.9123" in card
        assert "the weights of the last one, chosen by no validation" in card
        assert "fold -1" not in card and "split by image" not in card

    def test_a_head_of_regression_alone_is_said_to_be_one(
        self, small: Case, few: Few, tmp_path: Path
    ) -> None:
        fit = FitRecipe(
            seed=1,
            batch=8,
            epochs=0,
            learning_rate=0.1,
            learning_rate_floor=0.0,
            schedule="cosine",
            probe_c=0.1,
        )
        split = Split(1, "image", 0, few.paths(12, 0), [], few.paths(6, 6))
        run = Run.create(tmp_path / "run", Recipe(model=small.recipe, fit=fit), split, {"weights": "w.h5"})
        run.save(small.model, Progress(learning_rate=0.1, stopped="the regression alone"), better=True)
        out = tmp_path / "model.tflite"
        command = ["export", str(run.folder), "--data", str(few.root), "--out", str(out), "--max-drop", "100"]
        assert main(command) == 0
        card = read_model(out).card
        assert "logistic regression on the features of those weights" in card and "epoch" not in card

    def test_without_a_test_side_the_validation_side_is_compared(
        self, small: Case, few: Few, tmp_path: Path
    ) -> None:
        split = Split(0, "subject", 0, few.paths(12, 0), few.paths(6, 6), [])
        run = make_run(tmp_path / "run", small, split)
        out = tmp_path / "model.tflite"
        assert (
            main(["export", str(run), "--data", str(few.root), "--out", str(out), "--max-drop", "100"]) == 0
        )
        parity = read_model(out).manifest.parity
        assert parity["n"] == 6 and parity["cells"].startswith("validation side of fold 0, split by subject")

    @pytest.mark.parametrize("content", ["{", "[1]", "{}"])
    def test_evidence_that_is_none_is_wrong_input(
        self, small: Case, few: Few, tmp_path: Path, content: str
    ) -> None:
        run = make_run(tmp_path / "run", small, Split(NO_FOLD, "none", 0, few.paths(4, 0), [], []))
        evidence = tmp_path / "evidence.json"
        evidence.write_text(content)
        out = tmp_path / "model.tflite"
        command = ["export", run, "--data", few.root, "--out", out, "--evidence", evidence]
        assert main([*map(str, command)]) == 2 and not out.exists()


def test_unseen_subjects_are_of_no_side_of_the_split(cnmc: Path) -> None:
    cells = scan(cnmc)
    named = [cell for cell in cells if cell.part == "fold_1"]
    split = Split(0, "subject", 0, [cell.path for cell in named[:2000]], [], [c.path for c in named[2000:]])
    others = unseen_subjects(cnmc, split)
    seen = {subject_group(cell.subject) for cell in named}
    assert others and not seen & {subject_group(cell.subject) for cell in others}
    assert np.all([cell.part != "fold_1" for cell in others])
