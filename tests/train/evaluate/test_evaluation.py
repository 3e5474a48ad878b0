"""The figures of known cells, the report, the plots and the command, on the shipped model and real cells."""

import csv
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cli.main import main
from edge.errors import InputError, LeukoscopeError
from train.data import dataset, split
from train.data.dataset import Cell
from train.evaluate import camera, evaluation, paper, report
from train.evaluate.predictions import Predictions, figures_of, rows_of
from train.fit.curves import training_curves

PLOTS = ("confusion-test", "confusion-other-subjects", "noise", "roc", "reliability", "subjects")
HISTORY = [
    {
        "loss": 0.9,
        "accuracy": 0.6,
        "val_loss": 0.8,
        "val_accuracy": 0.7,
        "learning_rate": 1e-3,
        "seconds": 9.0,
    },
    {
        "loss": 0.5,
        "accuracy": 0.8,
        "val_loss": 0.9,
        "val_accuracy": 0.6,
        "learning_rate": 1e-4,
        "seconds": 9.0,
    },
]


def made_up(subjects: dict[str, int], part: str = "fold_1") -> list[Cell]:
    return [
        Cell(f"{part}/{subject}_{i}.png", "HEM" if subject[0] == "H" else "ALL", subject, part)
        for subject, count in subjects.items()
        for i in range(count)
    ]


def scored(cells: list[Cell], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.25, len(cells))
    return np.clip(np.array([0.7 if cell.label == "ALL" else 0.3 for cell in cells]) + noise, 0, 1)


def test_twins_count_as_one_patient_and_each_subject_has_its_row() -> None:
    cells = made_up({"20": 3, "21": 1, "5": 2, "H1": 2, "H9": 2})
    found = figures_of(cells, np.array([0.9, 0.9, 0.9, 0.1, 0.2, 0.8, 0.1, 0.1, 0.6, 0.2]))
    assert found["groups"] == {"ALL": 2, "HEM": 2}
    assert found["by_subject"]["sensitivity"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    # The means: ALL 0.7 and 0.5, HEM 0.1 and 0.4; none is out of order, though a cell of 0.1 is.
    assert found["by_subject"]["auc_of_means"] == 1.0 and found["by_subject"]["auc"] < 1.0
    assert found["per_subject"]["20"] == {"label": "ALL", "n": 3, "accuracy": 1.0, "mean_score": 0.9}
    assert found["per_subject"]["21"]["accuracy"] == 0.0
    assert found["resampled"] == "subjects"
    json.dumps(found, allow_nan=False)


def test_rows_carry_other_subjects_drawn_by_patient() -> None:
    test, other = made_up({"5": 9, "H1": 9}), made_up({"7": 3, "8": 3, "H2": 3, "H7": 3}, "fold_2")
    parts = [Predictions("test", s, test, scored(test)) for s in (0, 5)]
    rows = rows_of([*parts, Predictions("other_subjects", 0, other, scored(other))], "cells")
    assert [row["sigma"] for row in rows] == [0, 5]
    assert rows[0]["resampled"] == "cells"
    assert rows[0]["other_subjects"]["resampled"] == "subjects"
    assert rows[0]["other_subjects"]["n"] == 12
    assert rows[1]["other_subjects"] is None


def test_no_cells_and_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="no cells"):
        figures_of([], np.zeros(0))
    with pytest.raises(LeukoscopeError, match="1 of 2 scores"):
        figures_of(made_up({"5": 2}), np.array([0.5, np.nan]))


class _Page(HTMLParser):
    """What a reader gets: text, the sources of everything loaded, alternative texts; checks the nesting."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.alternatives: list[str] = []
        self.heads = 0
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes) -> None:
        values = dict(attributes)
        assert tag not in ("script", "link", "iframe", "object")
        self.sources += [values[name] for name in ("src", "href", "srcset", "data") if name in values]
        if tag == "img":
            self.alternatives.append(values["alt"])
        self.heads += tag == "th" and values.get("scope") in ("col", "row")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data if "style" not in self.open else ""


def assert_drawn(file: Path) -> None:
    pixels = cv2.imread(str(file))
    assert file.read_bytes().startswith(b"\x89PNG")
    assert pixels.shape[0] > 200 and pixels.shape[1] > 200
    assert pixels.std() > 5


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    test, other = (
        made_up({"5": 20, "6": 20, "H1": 20}),
        made_up({"7": 3, "H<b>": 3, "9": 3, "H8": 2}, "fold_2"),
    )
    parts = [
        Predictions(which, sigma, cells, scored(cells))
        for sigma in (0.0, 5.0)
        for which, cells in (("test", test), ("other_subjects", other))
    ]
    folder = tmp_path_factory.mktemp("report")
    made = report.Report(
        title="A <script> & a run",
        rows=rows_of(parts, "cells"),
        predictions=parts,
        new_patients=False,
        fold=1,
        notes=["something to know"],
        facts={"Command": "leukoscope evaluate <run>"},
        histories={"this training": HISTORY},
    )
    report.write(folder, made)
    return folder


def test_the_page_says_what_a_doctor_must_know_and_loads_nothing(written: Path) -> None:
    source = (written / "report.html").read_text()
    page = _Page(source)
    text = " ".join(page.text.split())
    for needed in (
        "One cell decides nothing",
        "second opinion only",
        "not a diagnosis",
        "same patients",
        "something to know",
        "means over both classes are compared here",
        "New patients",
        "leukoscope evaluate <run>",
        "A <script> & a run",
        "H<b>",
        "resample whole patients",
        "resample cells",
    ):
        assert needed in text, needed
    assert len(page.sources) == len(PLOTS) + 1
    assert all(address.startswith("data:image/png;base64,") for address in page.sources)
    assert (
        "http:" not in source and "https:" not in source and "url(" not in source and "@import" not in source
    )
    assert all(len(alternative) > 20 for alternative in page.alternatives)
    assert page.heads > 30


def test_the_page_shows_every_figure_of_the_rows(written: Path) -> None:
    text = _Page((written / "report.html").read_text()).text
    for row in json.loads((written / "metrics.json").read_text()):
        for figures in (row, row["other_subjects"]):
            assert f"{100 * figures['sensitivity']:.1f} %" in text
            assert f"{100 * figures['specificity']:.1f} %" in text
            assert f"{figures['auc']:.3f}" in text and f"{figures['auc_hard_labels']:.3f}" in text
    assert f"{paper.RESULTS[1][0.0].auc:.3f}" in text


def test_the_papers_rows_stand_only_beside_an_image_split() -> None:
    cells = made_up({"5": 3, "6": 3, "H1": 3, "H7": 3})
    parts = [Predictions("test", 0.0, cells, scored(cells))]
    rows = rows_of(parts, "subjects")
    assert "image split" not in report.text(rows, new_patients=True)
    assert report.Report("x", rows, parts, new_patients=True, fold=1).paper_rows() == {}
    assert report.Report("x", rows, parts, new_patients=False, fold=7).paper_rows() == {}
    assert len(report.Report("x", rows, parts, new_patients=False, fold=2).paper_rows()) == 5


def test_plots_and_predictions_are_there(written: Path) -> None:
    for name in (*PLOTS, "training"):
        assert_drawn(written / f"{name}.png")
    with (written / "predictions.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert len(table) == 2 * (60 + 11)
    assert table[0] == {
        "path": "fold_1/5_0.png",
        "subject": "5",
        "label": "ALL",
        "sigma": "0",
        "score": table[0]["score"],
        "cells": "test",
    }
    assert 0 <= float(table[0]["score"]) <= 1


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], [{"loss": 1.0, "seconds": 2.0}], []])
def test_training_curves_of_any_history(history, tmp_path: Path) -> None:
    training_curves(history, tmp_path / "training.png")
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_without_new_patients_or_a_class_says_so(tmp_path: Path) -> None:
    cells = made_up({"5": 4, "6": 4})
    parts = [Predictions("test", 0.0, cells, scored(cells))]
    rows = rows_of(parts, "cells")
    report.write(
        tmp_path / "deep" / "folder", report.Report("only ALL", rows, parts, new_patients=False, fold=1)
    )
    text = " ".join(_Page((tmp_path / "deep" / "folder" / "report.html").read_text()).text.split())
    assert report.NO_NEW_PATIENTS in text
    assert "all cells are of one class" in text
    assert "nan" not in text.lower().replace("provenance", "")
    assert report.NO_NEW_PATIENTS in report.text(rows, new_patients=False)


def small_split(cnmc: Path, method: split.Method, file: Path) -> split.Split:
    """Ten cells of each class of fold 1 to judge; the sides that train do not matter here."""
    cells = [cell for cell in dataset.scan(cnmc) if cell.part == "fold_1"]
    test = [
        cell.path
        for label in dataset.LABELS
        for cell in [cell for cell in cells if cell.label == label][:: 200 if label == "ALL" else 100]
    ]
    made = split.Split(1, method, 0, [cells[1].path], [cells[2].path], test)
    split.write(made, file)
    return made


def judging(model: Path, data: Path, split: Path) -> list[str]:
    return ["evaluate", str(model), "--data", str(data), "--split-file", str(split)]


def test_the_command_on_the_shipped_model(
    cnmc: Path, shipped_model: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = small_split(cnmc, "image", tmp_path / "split.json")
    out = tmp_path / "out"
    words = judging(shipped_model, cnmc, tmp_path / "split.json")
    assert main([*words, "--noise", "0,10", "--json", "--out", str(out)]) == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)
    assert rows == json.loads((out / "metrics.json").read_text())
    assert [row["sigma"] for row in rows] == [0, 10]
    row = rows[0]
    assert row["n"] == len(made.test) == sum(map(sum, row["confusion"]))
    assert row["accuracy"] > 0.7 and row["resampled"] == "cells"
    assert row["other_subjects"] is None  # it was trained on every patient there is
    assert f"{len(made.test)} of the {len(made.test)} test cells are of patients" in said.err
    assert "leukoscope evaluate" in _Page((out / "report.html").read_text()).text
    assert not (out / "training.png").exists()


def test_other_subjects_are_those_that_certainly_trained_nothing(cnmc: Path) -> None:
    cells = dataset.scan(cnmc)
    made = split.split_fold(cells, 1, "image", 0)

    def others(training: dict[str, object], seen: frozenset[str] | None = None) -> set[str]:
        scorer = evaluation.Scorer(
            evaluation.Geometry(), lambda crops: crops.mean(axis=(1, 2, 3)), training, seen
        )
        return {dataset.subject_group(cell.subject) for cell in evaluation._new_patients(scorer, cnmc, made)}

    fold_1 = {dataset.subject_group(cell.subject) for cell in cells if cell.part == "fold_1"}
    assert others({"split": "image", "fold": 1}) == {dataset.subject_group(c.subject) for c in cells} - fold_1
    assert others({"split": "none", "fold": -1}) == set()
    assert others({"split": "subject", "fold": 1}) == set()  # a model file does not say whom it left out
    only = frozenset(cell.path for cell in cells if cell.subject != "16")
    assert others({"split": "subject", "fold": 0}, only) == {"16"}


def test_a_split_by_subject_that_the_model_was_not_trained_with_is_not_called_new_patients(
    cnmc: Path, shipped_model: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small_split(cnmc, "subject", tmp_path / "split.json")
    words = judging(shipped_model, cnmc, tmp_path / "split.json")
    assert main([*words, "--noise", "0"]) == 0
    out = capsys.readouterr().out
    assert "perhaps trained on" in out and "new patients" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--noise", "0,loud"], "--noise 0,loud"),
        (["--noise", "nan"], "nan is not a sigma"),
        (["--noise", "-1"], "-1 is not a sigma"),
        ([], "--split-file"),
    ],
)
def test_wrong_use_is_named(words: list[str], message: str, cnmc: Path, shipped_model: Path, capsys) -> None:
    assert main(["evaluate", str(shipped_model), "--data", str(cnmc), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_empty_test_side_and_an_out_that_is_a_file_are_refused(
    cnmc: Path, shipped_model: Path, tmp_path: Path, capsys
) -> None:
    split.write(split.Split(1, "image", 0, [], [], []), tmp_path / "split.json")
    words = judging(shipped_model, cnmc, tmp_path / "split.json")
    assert main(words) == 2
    assert "test list is empty" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "split.json")]) == 1
    assert "--out" in capsys.readouterr().err


def test_cautions_count_the_images_that_trained() -> None:
    mine = split.Split(1, "image", 0, ["a", "b"], ["c"], ["d", "e"])
    other = split.Split(1, "image", 1, ["d"], ["e"], ["a", "c", "f"])
    scorer = evaluation.Scorer(None, lambda crops: crops, {"split_sha256": mine.sha256()}, frozenset("abc"))
    assert evaluation.cautions(scorer, mine, []) == []
    assert not evaluation.judges_new_patients(scorer, mine, [])
    by_subject = split.Split(1, "subject", 0, ["a"], ["c"], ["d"])
    assert not evaluation.judges_new_patients(scorer, by_subject, [])
    scorer = replace(scorer, training={"split_sha256": by_subject.sha256()})
    assert evaluation.judges_new_patients(scorer, by_subject, [])
    scorer = replace(scorer, training={"split_sha256": mine.sha256()})
    assert "2 of the 3" in evaluation.cautions(scorer, other, [])[0]


def test_where_it_is_known_who_trained_patients_decide() -> None:
    cells = made_up({"20": 2, "7": 1})
    every = split.Split(split.NO_FOLD, "none", 0, [], [], [cell.path for cell in cells])
    scorer = evaluation.Scorer(None, lambda crops: crops, patients=frozenset({"20+21", "5"}))
    assert not evaluation.judges_new_patients(scorer, every, cells)
    assert "2 of the 3 test cells are of patients" in evaluation.cautions(scorer, every, cells)[0]
    assert evaluation.judges_new_patients(scorer, every, cells[2:])
    assert evaluation.cautions(scorer, every, cells[2:]) == []


def test_the_parts_of_a_data_set_are_told_apart() -> None:
    easy, hard = made_up({"5": 4, "H1": 4}, "fold_0"), made_up({"6": 2, "7": 1, "H7": 3}, "fold_2")
    assert figures_of(easy, np.linspace(1, 0, 8))["parts"] == {}
    found = figures_of([*easy, *hard], np.array([*np.linspace(1, 0, 8), 0.9, 0.1, 0.8, 0.2, 0.3, 0.4]))[
        "parts"
    ]
    assert list(found) == ["fold_0", "fold_2", "all but fold_0"]
    assert found["fold_0"]["auc"] == 1 and found["fold_0"]["groups"] == {"ALL": 1, "HEM": 1}
    assert found["fold_2"] == found["all but fold_0"]
    assert found["fold_2"]["auc"] == pytest.approx(6 / 9) and found["fold_2"]["n"] == 6
    # Patient 6 has one cell above and one below all of H7's, patient 7 one above.
    assert found["fold_2"]["by_subject"]["auc"] == pytest.approx(0.75)


def test_every_cell_of_a_folder_under_every_camera(
    cnmc: Path, shipped_model: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cells = [cell for cell in dataset.scan(cnmc) if cell.part == "fold_2"]
    for cell in [next(c for c in cells if c.label == label) for label in dataset.LABELS]:
        folder = tmp_path / "lab" / cell.label.lower()
        folder.mkdir(parents=True)
        shutil.copy(cnmc / cell.path, folder)
    words = [
        "evaluate",
        str(shipped_model),
        "--data",
        str(tmp_path / "lab"),
        "--all",
        "--camera",
        "--noise",
        "0",
    ]
    assert main([*words, "--json", "--out", str(tmp_path / "out")]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["n"] == 2
    assert list(row["camera"]) == [condition.name for condition in camera.CONDITIONS]
    assert set(row["camera"]["JPEG 75"]) == {"auc", "sensitivity", "specificity"}
    assert "Other cameras" in _Page((tmp_path / "out" / "report.html").read_text()).text
    assert main(words) == 0
    assert "camera suite, 2 cells" in capsys.readouterr().out


def test_noise_in_blocks_is_the_noise_of_one_draw(cnmc: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cells = dataset.scan(cnmc)[:5]
    scorer = evaluation.Scorer(
        evaluation.Geometry(crop=448, size=32, interpolation="area"), lambda crops: crops.mean(axis=(1, 2, 3))
    )
    whole = evaluation.score_cells(scorer, cnmc, cells, 10.0)
    monkeypatch.setattr(evaluation, "_BLOCK", 2)
    assert evaluation.score_cells(scorer, cnmc, cells, 10.0) == pytest.approx(whole)


def test_noise_on_the_cameras_pixels_is_averaged_by_resizing(cnmc: Path, tmp_path: Path, monkeypatch) -> None:
    """The score is the noise that the network sees, in levels: on pixels that are far from 0 and 255."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cells = dataset.scan(cnmc)[:20]
    geometry = evaluation.Geometry(crop=120, size=60)  # within the cell, and each pixel is the mean of four
    clean: list[np.ndarray] = []
    evaluation.score_cells(
        evaluation.Scorer(geometry, lambda crops: clean.append(crops.astype(float)) or np.zeros(len(crops))),
        cnmc,
        cells,
    )
    scorer = evaluation.Scorer(
        geometry, lambda crops: (crops - clean[0])[:, 20:40, 20:40].std(axis=(1, 2, 3))
    )
    seen = {on: evaluation.score_cells(scorer, cnmc, cells, 4.0, noise_on=on) for on in ("network", "camera")}
    assert np.median(seen["network"]) == pytest.approx(4.0, rel=0.05)
    assert np.median(seen["camera"]) == pytest.approx(2.0, rel=0.05)
    assert not evaluation.score_cells(scorer, cnmc, cells, 0.0, noise_on="camera").any()


def test_rows_and_text_say_where_the_noise_is(
    cnmc: Path, shipped_model: Path, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small_split(cnmc, "image", tmp_path / "split.json")
    words = [
        *judging(shipped_model, cnmc, tmp_path / "split.json"),
        "--noise",
        "10",
        "--out",
        str(tmp_path / "out"),
    ]
    scores = {}
    for where in ("network", "camera"):
        assert main([*words, "--noise-on", where]) == 0
        said = capsys.readouterr().out
        assert ("before the crop is made small" in said) == (where == "camera")
        assert ("each crop as the network sees it" in said) == (where == "network")
        (row,) = json.loads((tmp_path / "out" / "metrics.json").read_text())
        assert row["noise_on"] == where
        assert f"--noise-on {where}" in _Page((tmp_path / "out" / "report.html").read_text()).text
        scores[where] = (tmp_path / "out" / "predictions.csv").read_text()
    assert scores["network"] != scores["camera"]
