"""The output of `evaluate --out`: metrics, predictions, plots and one page that a doctor can read."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.errors import LeukoscopeError
from edge.host.durable import replace_file
from train.data.dataset import OFFICIAL_CLASSES, Classes
from train.evaluate import brief, camera, page, paper, plots, predictions_file, tables
from train.evaluate.metrics import macro_means
from train.evaluate.predictions import NoiseOn, Predictions, Which
from train.fit.curves import training_curves

Row = Mapping[str, Any]
History = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Report:
    """Everything that a report is made of.

    Attributes:
        title: of the page.
        rows: what `train.evaluate.predictions.rows_of` gives, one per noise level.
        predictions: what the rows were made from.
        new_patients: whether the test cells are of patients that the model has not trained on.
        seen_name: what to call test cells whose patients are not new.
        fold: the official fold of an image split, to show the paper's figures beside; else None.
        notes: what else the reader must know before the figures.
        facts: how it was made: data, split, recipe, versions, command; name → text.
        histories: training curves: name → one row an epoch, as in `train.fit.run.Progress.history`.
        classes: names of the positive and the negative class.
        layout: of the data set, in words.
        camera_suite: what `train.evaluate.camera.judge` gives; empty if it was not asked for.
        camera_cells: how many cells that is of.
        images: the folder that the paths of the cells are relative to, to show the wrong ones.
    """

    title: str
    rows: Sequence[Row]
    predictions: Sequence[Predictions]
    new_patients: bool
    seen_name: str = "Image split"
    fold: int | None = None
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    histories: Mapping[str, History] = field(default_factory=dict)
    classes: Classes = OFFICIAL_CLASSES
    layout: str = ""
    camera_suite: Mapping[str, camera.Figures] = field(default_factory=dict)
    camera_cells: int = 0
    images: Path | None = None

    def sets(self) -> dict[str, tuple[Which, Sequence[Row]]]:
        """Name of each set of cells → which it is and its rows; new patients first."""
        if self.new_patients:
            return {"New patients": ("test", self.rows)}
        others = [
            row["other_subjects"] | {"sigma": row["sigma"]} for row in self.rows if row["other_subjects"]
        ]
        new: dict[str, tuple[Which, Sequence[Row]]] = (
            {"New patients": ("other_subjects", others)} if others else {}
        )
        return {**new, self.seen_name: ("test", self.rows)}

    def paper_rows(self) -> dict[float, paper.PaperRow]:
        """The paper's figures that these can be set beside: by sigma, none for new patients."""
        return {} if self.new_patients or self.fold is None else paper.RESULTS.get(self.fold, {})


_NOISY: Mapping[NoiseOn, str] = {
    "network": "each crop as the network sees it",
    "camera": "the camera's own pixels, before the crop is made small, which averages some of it away",
}

C_NMC = "C-NMC 2019, CC BY 3.0: Gupta, A. & Gupta, R. (2019), The Cancer Imaging Archive, doi 10.7937/tcia.2019.dc64i46r"

NO_NEW_PATIENTS = (
    "No new patients were evaluated: for no patient here is it known that none of its cells was used for training. These "
    "results do not predict new patients."
)


def write(folder: Path, report: Report) -> None:
    """Write metrics.json, predictions.csv, the plots and report.html.

    Args:
        folder: made if it is missing; files of these names are replaced.

    Raises:
        LeukoscopeError: it cannot be written.
    """
    make_folder(folder)
    try:
        text = json.dumps(list(report.rows), indent=1, allow_nan=False)
        replace_file(folder / "metrics.json", f"{text}\n".encode())
        predictions_file.write(folder / predictions_file.NAME, report.predictions)
        replace_file(folder / "report.html", _page(folder, report).encode())
    except OSError as error:
        raise LeukoscopeError(
            f"{folder}: {error.strerror}; give --out a folder that can be written"
        ) from error


def make_folder(folder: Path) -> None:
    """Make the folder of a report and try to write there, before hours of work go into it.

    Raises:
        LeukoscopeError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise LeukoscopeError(
            f"{folder}: {error.strerror}; give --out a folder that can be written"
        ) from error


def text(rows: Sequence[Row], new_patients: bool, seen_name: str = "Image split") -> str:
    """The figures for a terminal: a line for each noise level and set of cells."""
    names = {"test": "new patients" if new_patients else seen_name.lower(), "other_subjects": "new patients"}
    lines = ["sigma  cells                  n  accuracy     AUC  AUC hard  sensitivity  specificity     ECE"]
    for row in rows:
        for which, figures in (("test", row), ("other_subjects", row["other_subjects"])):
            if figures:
                keys = ("accuracy", "auc", "auc_hard_labels", "sensitivity", "specificity", "ece")
                widths = (8, 6, 8, 11, 11, 6)
                shown = (_plain(figures[key]).rjust(width) for key, width in zip(keys, widths, strict=True))
                lines.append(f"{row['sigma']:5g}  {names[which]:18} {figures['n']:5}  " + "  ".join(shown))
    if any(row["sigma"] for row in rows):
        lines.append(f"noise: on {_NOISY[rows[0]['noise_on']]}")
    if not new_patients and not any(row["other_subjects"] for row in rows):
        lines.append(NO_NEW_PATIENTS)
    elif not new_patients:
        lines.append(
            f"{seen_name.lower()}: cells of patients that it was trained on; these results do not predict new patients"
        )
    return "\n".join(lines)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _page(folder: Path, report: Report) -> str:
    sets = {name: rows[0]["parts"] for name, (_, rows) in report.sets().items()}
    sections = [
        page.section("In short", _in_short(report)),
        page.meaning(report.classes),
        page.section("Metrics", _headline(report)),
        page.section("Comparison with the paper", _beside_paper(report)) if report.paper_rows() else "",
        page.section("Confusion matrix", _confusions(folder, report)),
        page.section("Cells judged wrong", _wrong_cells(report, report.images)) if report.images else "",
        page.section("Image noise", _noise(folder, report)),
        page.section("Other cameras", tables.cameras(report.camera_suite, report.camera_cells))
        if report.camera_suite
        else "",
        page.section("ROC curve", _roc(folder, report)),
        page.section("Calibration", _reliability(folder, report)),
        page.section("Parts of the data set", parts) if (parts := tables.parts(sets)) else "",
        page.section("Per patient", _subjects(folder, report)),
        page.section("Training", _curves(folder, report)) if report.histories else "",
        page.section("Provenance", _facts(report)),
    ]
    return page.page(report.title, sections)


def _in_short(report: Report) -> str:
    cautions = "".join(page.paragraph(note, warning=True) for note in report.notes)
    if "New patients" not in report.sets():
        cautions += page.paragraph(NO_NEW_PATIENTS, warning=True)
    return (
        brief.in_short({name: rows for name, (_, rows) in report.sets().items()}, report.classes) + cautions
    )


def _wrong_cells(report: Report, images: Path) -> str:
    first = {
        name: next(made for made in report.predictions if made.which == which)
        for name, (which, _) in report.sets().items()
    }
    return brief.wrong_cells(first, images, report.classes)


def _headline(report: Report) -> str:
    sets = {name: rows[0] for name, (_, rows) in report.sets().items()}
    positive, negative = report.classes.names()
    counts = [
        (
            f"Patients ({positive} / {negative})",
            *(f"{row['groups'][positive]} / {row['groups'][negative]}" for row in sets.values()),
        ),
        (
            f"Cells ({positive} / {negative})",
            *("{} / {}".format(*map(sum, row["confusion"])) for row in sets.values()),
        ),
        (f"Accuracy of calling every cell {positive}", *(_always_all(row) for row in sets.values())),
    ]
    figures = [
        (title, *(page.value_with_interval(row, name) for row in sets.values()))
        for name, title in page.TITLES.items()
    ]
    even = [
        (
            f"{page.TITLES[name]}, each patient weighing the same",
            *(page.value_with_interval(row["by_subject"], name) for row in sets.values()),
        )
        for name in ("sensitivity", "specificity", "balanced_accuracy", "auc")
    ]
    caption = f"Metrics with 95 % intervals, noise σ = {report.rows[0]['sigma']:g}"
    body = page.table(caption, ("Metric", *sets), counts + figures + even)
    return body + "".join(page.paragraph(_drawn(name, row)) for name, row in sets.items())


def _always_all(row: Row) -> str:
    return f"{100 * sum(row['confusion'][0]) / row['n']:.1f} %"


def _drawn(name: str, row: Row) -> str:
    if row["resampled"] == "cells":
        return (
            f"{name}: the intervals resample cells. They show how far the metrics would move with other cells "
            "of the same patients, and nothing about other patients."
        )
    fewest = min(row["groups"].values())
    few = (
        f" With only {fewest} patient{'' if fewest == 1 else 's'} in one class they are still too narrow."
        if fewest < 15
        else ""
    )
    return f"{name}: the intervals resample whole patients.{few}"


def _beside_paper(report: Report) -> str:
    ours = {row["sigma"]: row for row in report.rows}
    lines: list[tuple[str, ...]] = []
    for sigma, theirs in report.paper_rows().items():
        if row := ours.get(sigma):
            given = (theirs.precision, theirs.recall, theirs.f1, theirs.accuracy)
            had = (*macro_means(row["confusion"]), row["accuracy"])
            paper_cells, our_cells = ([f"{value:.2f}" for value in values] for values in (given, had))
            aucs = [_auc(row[name]) for name in ("auc_hard_labels", "auc")]
            lines.append((f"σ\u00a0{sigma:g}: paper", *paper_cells, f"{theirs.auc:.3f}", "not given"))
            lines.append((f"σ\u00a0{sigma:g}: this\u00a0model", *our_cells, *aucs))
    if not lines:
        return page.paragraph("None of the noise levels is one of the paper's.")
    heads = ("Noise", "Precision", "Recall", "F1", "Accuracy", "AUC of hard labels", "AUC of scores")
    caption = f"Fold {report.fold}, image split; precision, recall and F1 are means over both classes"
    return (
        page.table(caption, heads, lines)
        + page.paragraph(f"Source of the paper's rows: {paper.SOURCE}. {paper.MEANS_NOTE}")
        + page.paragraph("Both are of an image split: neither predicts results on new patients.")
    )


def _auc(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _confusions(folder: Path, report: Report) -> str:
    positive, negative = report.classes.names()
    body = ""
    for name, (which, rows) in report.sets().items():
        file = folder / f"confusion-{which.replace('_', '-')}.png"
        plots.confusion(rows, name, file, report.classes.names())
        told = "; ".join(
            f"noise {row['sigma']:g}: of {tp + fn} {positive} cells {tp} called {positive}, of {fp + tn} {negative} "
            f"cells {tn} called {negative}"
            for row in rows
            for (tp, fn), (fp, tn) in [row["confusion"]]
        )
        body += page.picture(
            file, f"Confusion matrices, {name}. {told}.", f"{name}: rows are what the cell is."
        )
    return body


def _noise(folder: Path, report: Report) -> str:
    sets = {name: rows for name, (_, rows) in report.sets().items()}
    file = folder / "noise.png"
    plots.noise(sets, report.paper_rows(), file)
    names = ("accuracy", "sensitivity", "specificity", "auc", "auc_hard_labels", "weighted_f1", "ece")
    body = page.paragraph(
        f"Gaussian noise of standard deviation σ (in 8-bit levels) is added to {_NOISY[report.rows[0]['noise_on']]}, as a "
        "poor camera would."
    )
    for name, rows in sets.items():
        lines = [(f"{row['sigma']:g}", *(page.value(row, key) for key in names)) for row in rows]
        body += page.table(name, ("Noise σ", *(page.TITLES[key] for key in names)), lines)
    alternative = (
        "Accuracy, AUC of hard labels and AUC of scores over the noise; the tables above have the numbers."
    )
    return body + page.picture(file, alternative, "Bands are 95 % intervals.")


def _roc(folder: Path, report: Report) -> str:
    arrays, rows = _first_level(report)
    aucs = {name: row["auc"] for name, row in rows.items()}
    if all(auc is None for auc in aucs.values()):
        return page.paragraph("Not defined: all cells are of one class.")
    file = folder / "roc.png"
    plots.roc(arrays, aucs, file)
    told = ", ".join(f"{name} AUC {page.value(row, 'auc')}" for name, row in rows.items())
    return page.picture(
        file,
        f"ROC curves: {told}.",
        "Each threshold is one point of the curve: further left means fewer false alarms, further up "
        "fewer missed cells.",
    )


def _reliability(folder: Path, report: Report) -> str:
    arrays, rows = _first_level(report)
    file = folder / "reliability.png"
    plots.reliability(arrays, {name: row["ece"] for name, row in rows.items()}, file)
    told = ", ".join(f"{name} ECE {page.value(row, 'ece')}" for name, row in rows.items())
    return page.picture(
        file,
        f"Reliability diagram, accuracy over confidence, with the number of cells: {told}.",
        "Below the dotted line it is overconfident. Bins with few cells are uncertain.",
    )


def _first_level(report: Report) -> tuple[plots.Named, dict[str, Row]]:
    """Truth and scores, and figures, of each set at the first noise level."""
    rows = {name: rows[0] for name, (_, rows) in report.sets().items()}
    arrays = {
        name: next((p.is_all, p.scores) for p in report.predictions if p.which == which)
        for name, (which, _) in report.sets().items()
    }
    return arrays, rows


def _subjects(folder: Path, report: Report) -> str:
    sets = {name: rows[0]["per_subject"] for name, (_, rows) in report.sets().items()}
    file = folder / "subjects.png"
    plots.subjects(sets, file, report.classes.names())
    body = page.picture(
        file,
        "Accuracy per patient, sorted; the tables below have the numbers.",
        f"Noise σ = {report.rows[0]['sigma']:g}. Results of patients with few cells are uncertain. Subjects that are one patient under "
        "several names are listed one by one here and count as one patient in the metrics above.",
    )
    heads = ("Patient", "Is", "Cells", "Right", f"Mean score for {report.classes.positive}")
    for name, per_subject in sets.items():
        lines = [
            (subject, row["label"], str(row["n"]), page.value(row, "accuracy"), f"{row['mean_score']:.3f}")
            for subject, row in sorted(per_subject.items(), key=lambda item: (item[1]["accuracy"], item[0]))
        ]
        body += page.table(name, heads, lines)
    return body


def _curves(folder: Path, report: Report) -> str:
    body = ""
    for number, (name, history) in enumerate(report.histories.items()):
        file = folder / ("training.png" if not number else f"training-{number + 1}.png")
        training_curves(history, file)
        alternative = f"Loss, accuracy and learning rate of {name} over {len(history)} epochs."
        body += page.picture(file, alternative, f"{name}: {len(history)} epochs.")
    return body


def _facts(report: Report) -> str:
    lines = list(report.facts.items())
    official = not report.layout or "C-NMC" in report.layout
    lines.append(
        ("Data set", f"{report.layout}; {C_NMC}" if official and report.layout else report.layout or C_NMC)
    )
    return page.table("Provenance", ("What", "Which"), lines, kind="facts")
