"""Temperature, referral band and the evidence of a cross-validation, down to the record that the box sends."""

import csv
import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tiny_model import GEOMETRY, flatbuffer, write_tiny

from edge.daemon.pipeline import Pipeline
from edge.errors import InputError
from edge.imaging.frame import Frame
from edge.imaging.preprocess import prepare
from edge.imaging.quality import QualitySettings
from edge.model.classifier import Classifier
from edge.model.file import make_interpreter, read_model
from export.figures import evidence, referral
from export.figures.referral import (
    BANDS,
    Judged,
    box_logits,
    choose,
    curve,
    fit,
    fit_shift,
    fit_temperature,
    left_out,
    moved,
)
from export.figures.report import reached


def cells(rng: np.random.Generator, stretch: float, patients: int = 20, each: int = 200) -> Judged:
    """Cells whose true log-odds are known; the model's are `stretch` times as large."""
    true = rng.normal(0, 2, patients * each)
    is_all = rng.random(len(true)) < 1 / (1 + np.exp(-true))
    patient = np.repeat(np.arange(patients), each) + np.where(is_all, 0, patients)
    return Judged("made", is_all, true * stretch, patient.astype(np.intp), True)


@pytest.mark.parametrize("stretch", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_how_much_too_sure_a_model_is(stretch: float) -> None:
    judged = cells(np.random.default_rng(1), stretch)
    assert fit_temperature(judged) == pytest.approx(stretch, rel=0.07)
    found = fit(judged, 0.95, "made")
    assert found["log_loss"]["after"] <= found["log_loss"]["before"]
    assert found["ece"]["after"] < 0.03


@pytest.mark.parametrize("offset", [-1.5, 0.0, 2.0])
def test_the_shift_puts_one_half_where_the_classes_meet(offset: float) -> None:
    judged = cells(np.random.default_rng(5), 1.0).shifted(offset)
    assert fit_shift(judged) == pytest.approx(-offset, abs=0.15)
    found = fit(judged, 0.95, "made", with_shift=True)
    assert found["shift"] == fit_shift(judged)
    assert abs(found["without_band"]["sensitivity"] - found["without_band"]["specificity"]) < 0.03
    assert fit(judged, 0.95, "made")["shift"] == 0.0


def test_a_patient_of_few_cells_hardly_moves_the_threshold() -> None:
    rng = np.random.default_rng(3)
    is_all = np.repeat([True, False], 100)
    logits = np.where(is_all, 1.0, -1.0) + rng.normal(0, 1, 200)
    alone = Judged("made", is_all, logits, np.repeat([0, 1], 100).astype(np.intp), True)
    # One more patient with ALL, of four cells, which are called ALL too surely.
    more = Judged(
        "made",
        np.append(is_all, [True] * 4),
        np.append(logits, [6.0] * 4),
        np.append(alone.patient, [2] * 4).astype(np.intp),
        True,
    )
    even = np.repeat([1 / 100, 1 / 100, 1 / 4], [100, 100, 4])
    by_patient = LogisticRegression(C=1e6).fit(
        more.logits[:, np.newaxis], more.is_all, np.where(more.is_all, even / 2, even) * 204
    )
    if_even = by_patient.intercept_[0] / by_patient.coef_[0, 0]
    assert abs(fit_shift(more) - fit_shift(alone)) < 0.6 * abs(if_even - fit_shift(alone))


def test_a_shift_needs_both_classes_and_a_model_that_knows_them_apart() -> None:
    one = Judged("x", np.array([True, True]), np.array([1.0, -1.0]), np.array([0, 1]), True)
    wrong = Judged("x", np.array([True, False]), np.array([-1.0, 1.0]), np.array([0, 1]), True)
    assert fit_shift(one) == 0.0 and fit_shift(wrong) == 0.0


def test_moved_probabilities_have_so_much_more_log_odds() -> None:
    p = np.array([0.0, 0.2, 0.5, 1.0])
    assert moved(p, 0.0) is p
    np.testing.assert_allclose(moved(p, np.log(4)), [0, 0.5, 0.8, 1], atol=1e-9)


def test_a_patient_of_many_cells_weighs_no_more_than_one_of_few() -> None:
    sure = Judged("x", np.array([True, False]), np.array([2.0, -2.0]), np.array([0, 1]), True)
    repeated = Judged(
        "x", np.array([True, *[False] * 500]), np.array([2.0, *[-2.0] * 500]), np.array([0, *[1] * 500]), True
    )
    assert fit_temperature(sure) == fit_temperature(repeated)
    assert curve(sure, 1.0) == curve(repeated, 1.0)


def test_points_of_the_curve_are_what_counting_by_hand_gives() -> None:
    # Two ALL patients, of two cells and one; one HEM patient of two cells. Probabilities 0.9 0.6 0.3 | 0.2 0.55.
    p = np.array([0.9, 0.6, 0.3, 0.2, 0.55])
    judged = Judged(
        "x", np.array([True, True, True, False, False]), np.log(p / (1 - p)), np.array([0, 0, 1, 2, 2]), True
    )
    points = {point.refer_below: point for point in curve(judged, 1.0)}
    none = points[0.5]
    assert (none.coverage, none.sensitivity, none.specificity) == (1.0, 0.5, 0.5)
    assert none.missed == 0.5 and none.risk == pytest.approx(1.5 / 3)
    some = points[0.65]  # leaves 0.9, 0.3 and 0.2: half of patient 0, all of 1, half of 2
    assert some.coverage == pytest.approx(2 / 3) and some.decided == pytest.approx(0.5)
    assert some.sensitivity == pytest.approx(0.5 / 1.5) and some.specificity == 1.0
    assert points[0.705].sensitivity == 1.0 and points[0.705].missed == 0.0


def test_the_smallest_band_that_reaches_the_sensitivity_is_chosen() -> None:
    judged = cells(np.random.default_rng(2), 1.0)
    points = curve(judged, 1.0)
    chosen, there = choose(points, 0.9)
    assert there and chosen.sensitivity >= 0.9
    assert all(point.sensitivity < 0.9 for point in points if point.refer_below < chosen.refer_below)
    assert fit(judged, 0.5, "made")["refer_below"] == 0.0  # reached without any band


def test_a_sensitivity_that_cannot_be_reached_is_said_to_be_missed() -> None:
    rng = np.random.default_rng(3)
    is_all = np.arange(400) < 200
    judged = Judged("x", is_all, rng.normal(0, 1, 400), (np.arange(400) // 20).astype(np.intp), True)
    found = fit(judged, 0.99, "made")
    assert found["reached"] is False
    assert found["with_band"]["decided"] >= referral.LEAST_DECIDED
    assert reached(found).startswith("A sensitivity of 99.0% was not reached by any band")


def test_every_patient_under_the_band_of_the_others_differs_from_choosing_on_all() -> None:
    rng = np.random.default_rng(4)
    judged = cells(rng, 1.5, patients=6, each=60)
    # One ALL patient is called healthy throughout, and surely: only when it is left out does nobody foresee it.
    odd = (judged.patient == 0) & judged.is_all
    judged.logits[odd] = -2.0
    apart, chosen = left_out(judged, 0.95, False), fit(judged, 0.95, "made")
    assert apart is not None and apart.sensitivity is not None
    assert apart.sensitivity < chosen["with_band"]["sensitivity"]
    few = Judged("x", np.array([True, False]), np.array([1.0, -1.0]), np.array([0, 1]), True)
    assert left_out(few, 0.95, False) is None


def test_scores_of_a_float_model_become_what_int8_can_say() -> None:
    logits = box_logits(np.array([0.5, 0.75, 1.0, 0.0]))
    assert logits[:2] == pytest.approx([0.0, math.log(3)])
    # The softmax ends at 255/256, and the box takes a 0 for half a step.
    assert logits[2] == pytest.approx(math.log(255 / 256 / (1 / 512))) and logits[3] == -logits[2]


class TestFromFileToRecord:
    """What a subscriber reads is the network's own output, scaled and judged by the file's own figures."""

    TEMPERATURE, REFER_BELOW = 1.7, 0.8

    def test_the_record_has_the_files_temperature_and_band(self, tmp_path: Path) -> None:
        file = write_tiny(
            tmp_path / "m.tflite", temperature=self.TEMPERATURE, refer_below=self.REFER_BELOW
        ).path
        model = read_model(file)
        no_limits = QualitySettings(
            min_stained=0, min_sharpness=0, min_brightness=0, max_brightness=255, max_saturated=1
        )
        pipeline = Pipeline(Classifier(model, limits=no_limits), model, "box", "")
        verdicts = []
        for red in range(0, 250, 10):
            pixels = np.zeros((64, 64, 3), np.uint8)
            pixels[4:60, 4:60] = (red, 90, 250 - red)
            expected = self.probability_by_hand(pixels)
            record = msgspec.json.decode(msgspec.json.encode(pipeline.record(Frame(pixels, 1, 1, "drawn"))))
            assert record["probabilities"]["ALL"] == pytest.approx(expected, abs=1e-9)
            highest = max(expected, 1 - expected)
            verdict = "refer" if highest < self.REFER_BELOW else "ALL" if expected >= 0.5 else "HEM"
            assert record["verdict"] == verdict
            assert (f"limit {self.REFER_BELOW}" in " ".join(record["reasons"])) == (verdict == "refer")
            verdicts.append(verdict)
        assert set(verdicts) == {"ALL", "HEM", "refer"}  # all three were tried

    def probability_by_hand(self, pixels: np.ndarray) -> float:
        interpreter = make_interpreter(flatbuffer())
        crop = prepare(pixels, GEOMETRY)
        interpreter.set_tensor(0, (crop.astype(np.int16) - 128).astype(np.int8)[np.newaxis])
        interpreter.invoke()
        output = interpreter.get_output_details()[0]
        first, second = (int(q) + 128 for q in interpreter.get_tensor(output["index"])[0])
        odds = (max(first, 0.5) / max(second, 0.5)) ** (1 / self.TEMPERATURE)
        return odds / (1 + odds)


def write_cross_validation(folder: Path, rows: list[tuple[str, str, float, float]]) -> Path:
    """A folder as `evaluate --cross-validate --out` leaves it: subject, label, sigma, score a row."""
    folder.mkdir()
    by_subject = {
        "auc": 0.9,
        "sensitivity": 0.8,
        "specificity": 0.7,
        "balanced_accuracy": 0.75,
        "intervals": {"auc": [0.8, 1.0], "sensitivity": [0.7, 0.9], "specificity": None},
    }
    figures = {
        "sigma": 0.0,
        "n": len(rows),
        "groups": {"ALL": 2, "HEM": 1},
        "accuracy": 0.8,
        "ece": 0.1,
        "resampled": "subjects",
        "by_subject": by_subject,
    }
    (folder / "metrics.json").write_text(json.dumps([figures]))
    with (folder / "predictions.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("path", "subject", "label", "sigma", "score", "cells"))
        for subject, label, sigma, score in rows:
            table.writerow((f"{subject}.png", subject, label, f"{sigma:g}", f"{score:.6f}", "test"))
    return folder


ROWS = [
    ("20", "ALL", 0.0, 0.9),
    ("21", "ALL", 0.0, 0.8),  # 20 and 21 are twins: one patient
    ("5", "ALL", 0.0, 0.4),
    ("H3", "HEM", 0.0, 0.2),
    ("H3", "HEM", 5.0, 0.6),  # with noise: not for the temperature
]


class TestEvidence:
    def test_a_cross_validation_gives_figures_and_held_out_cells(self, tmp_path: Path) -> None:
        folder = write_cross_validation(tmp_path / "cv", ROWS)
        for path in (folder, folder / "metrics.json"):
            known = evidence.read([path])
            assert known.held_out is not None and len(known.held_out.logits) == 4
            assert known.held_out.patients() == {"ALL": 2, "HEM": 1} and known.held_out.new_patients
            figures = known.metrics["cross-validation over subjects"]
            assert "specificity 0.70" in figures["text"] and "AUC 0.900 (0.800–1.000)" in figures["text"]
            assert figures["rows"][0]["auc"] == 0.9 and known.recipe is None

    def test_an_evaluation_by_image_gives_figures_alone(self, tmp_path: Path) -> None:
        folder = write_cross_validation(tmp_path / "image", ROWS)
        rows = json.loads((folder / "metrics.json").read_text())
        rows[0] |= {"resampled": "cells", "other_subjects": {"n": 3, "accuracy": 0.7}}
        (folder / "metrics.json").write_text(json.dumps(rows))
        known = evidence.read([folder])
        assert known.held_out is None  # its patients trained
        kind = "another model of the same method"
        assert known.metrics["test side of a split by image"][kind]["accuracy"] == 0.8
        assert known.metrics["subjects outside that split's fold"][kind] == {"n": 3, "accuracy": 0.7}
        both = evidence.read([folder, write_cross_validation(tmp_path / "cv", ROWS)])
        assert both.held_out is not None and len(both.metrics) == 3

    @pytest.mark.parametrize("how", ["kind", "title of an older report"])
    def test_one_ordinary_evaluation_by_subject_is_no_cross_validation(
        self, tmp_path: Path, how: str
    ) -> None:
        folder = write_cross_validation(tmp_path / "ordinary", ROWS)
        rows = json.loads((folder / "metrics.json").read_text())
        if how == "kind":
            rows[0]["kind"] = "test split"
        else:
            (folder / "report.html").write_text("<title>Evaluation of run: fold 1, split by subject</title>")
        (folder / "metrics.json").write_text(json.dumps(rows))
        known = evidence.read([folder])
        assert known.held_out is None  # so neither temperature nor band come from it
        kind = "another model of the same method"
        assert known.metrics.keys() == {"test side of a split by subject"}
        assert known.metrics["test side of a split by subject"][kind]["accuracy"] == 0.8

    def test_a_cross_validation_says_so_itself(self, tmp_path: Path) -> None:
        folder = write_cross_validation(tmp_path / "cv", ROWS)
        rows = json.loads((folder / "metrics.json").read_text())
        rows[0]["kind"] = "cross-validation"
        (folder / "metrics.json").write_text(json.dumps(rows))
        assert evidence.read([folder]).held_out is not None

    def test_every_cell_of_new_patients_judged_by_a_model_of_the_recipe(self, tmp_path: Path) -> None:
        folder = write_cross_validation(tmp_path / "new", ROWS)
        rows = json.loads((folder / "metrics.json").read_text())
        suite = {
            "clean": {"auc": 0.97, "sensitivity": 0.9, "specificity": 0.95},
            "JPEG 50": {"auc": 0.91, "sensitivity": 0.95, "specificity": None},
        }
        rows[0] |= {"kind": "every cell", "camera": suite}
        (folder / "metrics.json").write_text(json.dumps(rows))
        folders = [folder, write_cross_validation(tmp_path / "cv", ROWS)]
        for order in (folders, folders[::-1]):
            known = evidence.read(order)
            assert known.held_out is not None and known.held_out.name == evidence.NEW_PATIENTS
        assert set(known.metrics) == {evidence.NEW_PATIENTS, evidence.CROSS_VALIDATION}
        text = known.metrics[evidence.NEW_PATIENTS]["text"]
        assert "AUC 0.910 (JPEG 50), sensitivity 0.90 (clean), specificity 0.95 (clean)" in text

        # Where some of the patients trained, the others count.
        rows[0] |= {"resampled": "cells", "other_subjects": rows[0] | {"n": 1, "resampled": "subjects"}}
        (folder / "metrics.json").write_text(json.dumps(rows))
        table = (folder / "predictions.csv").read_text()
        (folder / "predictions.csv").write_text(table + "H7.png,H7,HEM,0,0.1,other_subjects\n")
        known = evidence.read([folder])
        assert known.metrics[evidence.NEW_PATIENTS]["rows"][0]["n"] == 1
        assert known.held_out is not None and known.held_out.patients() == {"ALL": 0, "HEM": 1}
        assert known.held_out.name == evidence.NEW_PATIENTS

    def test_two_cross_validations_are_one_too_many(self, tmp_path: Path) -> None:
        folder = write_cross_validation(tmp_path / "cv", ROWS)
        with pytest.raises(InputError, match="a second one for cross-validation over subjects"):
            evidence.read([folder, folder])

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("predictions.csv", "path,subject\n1,2\n", "not what `leukoscope evaluate` writes"),
            (
                "predictions.csv",
                "path,subject,label,sigma,score,cells\na,5,ALL,0,1.5,test\n",
                "label ALL, score 1.5",
            ),
            ("predictions.csv", "path,subject,label,sigma,score,cells\n", "no judged cells"),
            ("metrics.json", '[{"resampled": "subjects"}]', "not what `leukoscope evaluate` writes"),
            ("metrics.json", "[]", "not a JSON object with metrics"),
        ],
    )
    def test_what_is_damaged_is_refused_with_the_file(
        self, tmp_path: Path, name: str, content: str, reason: str
    ) -> None:
        folder = write_cross_validation(tmp_path / "cv", ROWS)
        (folder / name).write_text(content)
        with pytest.raises(InputError) as caught:
            evidence.read([folder])
        assert reason in str(caught.value) and str(folder / name) in str(caught.value)


def test_bands_are_even_steps_from_none_to_nearly_all() -> None:
    assert BANDS[0] == 0.5 and BANDS[-1] == 0.995
    np.testing.assert_allclose(np.diff(BANDS), 0.005, atol=1e-9)
