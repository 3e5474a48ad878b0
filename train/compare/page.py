"""What a comparison leaves in its folder: compare.json, the plots, and one page with everything in it."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from edge.errors import LeukoscopeError
from edge.host.durable import replace_file
from train.compare import plots
from train.compare.comparison import Comparison
from train.compare.figures import DIFFERENCES, NEW, TEST
from train.compare.lead import FEW_PATIENTS, deciding, ranked
from train.data.dataset import Classes
from train.evaluate import camera, page, paper

_METRICS = (
    ("accuracy", "Accuracy"),
    ("macro_precision", "Precision, mean of both classes"),
    ("macro_recall", "Recall, mean of both classes"),
    ("macro_f1", "F1, mean of both classes"),
    ("precision", "Precision of the positive class"),
    ("recall", "Recall of the positive class"),
    ("f1", "F1 of the positive class"),
    ("weighted_f1", "F1, weighted by cells"),
    ("auc", "AUC of the scores"),
    ("auc_hard_labels", "AUC of the hard labels"),
    ("sensitivity", "Sensitivity"),
    ("specificity", "Specificity"),
    ("ece", "Calibration error (ECE)"),
)

_MEANING = """
<dl>
<dt>AUC of the scores</dt><dd>the chance that a cell of {positive} gets a higher score than one of {negative}: 0.5 is
guessing, 1 is perfect.</dd>
<dt>Sensitivity</dt><dd>of all {positive} cells, the share that is called {positive}; the rest are missed.</dd>
<dt>Specificity</dt><dd>of all {negative} cells, the share that is called {negative}; the rest are false alarms.</dd>
<dt>Calibration error</dt><dd>how far the confidence is from how often it is right: 0.05 is five points.</dd>
<dt>95 % interval</dt><dd>where the figure may lie with other cells of the same patients or, where it says so, with
other patients.</dd>
<dt>Test cells, new patients</dt><dd>after a split by image, the test cells are of patients that trained the runs, and
their figures come out too good. Only figures of new patients say something about the next patient.</dd>
</dl>
<p>All cells are of the data set named below; on other slides nothing was measured.</p>
"""


def write(folder: Path, made: Comparison) -> None:
    """Write compare.json, compare.html, confusion.png, bars.png, noise.png and cameras.png.

    Raises:
        LeukoscopeError: they cannot be written.
    """
    try:
        text = json.dumps(made.json(), indent=1, allow_nan=False)
        replace_file(folder / "compare.json", f"{text}\n".encode())
        plots.confusions(made.contestants, made.classes.names(), folder / "confusion.png")
        plots.bars(made.contestants, made.fold, folder / "bars.png")
        plots.noise(made.contestants, folder / "noise.png")
        plots.cameras(made.contestants, folder / "cameras.png")
        replace_file(folder / "compare.html", _page(folder, made).encode())
    except OSError as error:
        raise LeukoscopeError(
            f"{folder}: {error.strerror}; give --out a folder that can be written"
        ) from error


def _page(folder: Path, made: Comparison) -> str:
    sections = [
        page.section("Result", _result(made)),
        page.section("Differences", _differences(made)),
        page.section("All metrics", _metrics(made)),
        page.section("Confusion matrices", _confusions(folder, made)),
        page.section(
            "Bars",
            page.picture(
                folder / "bars.png",
                "Accuracy, F1 and AUC of each run; the table has the numbers.",
                "Lines are 95 % intervals; diamonds what the paper prints.",
            ),
        ),
        page.section("Image noise", _noise(folder, made)),
        page.section("Other cameras", _cameras(folder, made)),
        page.section("Cost", _cost(made)),
        page.section("Beside the paper", _beside_paper(made)),
        page.section("How the runs were trained", _runs(made)),
        page.section("What the metrics mean", _meaning(made.classes)),
        page.section(
            "Provenance", page.table("Provenance", ("What", "Which"), list(made.facts.items()), kind="facts")
        ),
    ]
    return page.page("Networks side by side", sections)


def _result(made: Comparison) -> str:
    """Who is ahead, the runs with the best first, and what limits that."""
    which = deciding(made.contestants)
    keys = ("auc", "accuracy", "sensitivity", "specificity")
    rows = [
        (
            c.name,
            *(_value(c.rows[which][0], key) for key in keys),
            _scaled(c.cost["int8_bytes"], 1e-6),
            _scaled(c.cost["latency_ms"]),
        )
        for c in ranked(made.contestants)
    ]
    heads = ("Run", "AUC", "Accuracy", "Sensitivity", "Specificity", "int8, MB", "Latency, ms")
    first = made.contestants[0].rows[which][0]
    over = "patients" if first["resampled"] == "subjects" else "cells"
    body = f"<p><strong>{escape(made.sentence())}</strong></p>\n" if made.sentence() else ""
    body += page.table(f"{_cells(made, which)}; 95 % intervals over {over}", heads, rows)
    notes = list(made.notes)
    short = [c.name for c in made.contestants if c.facts["epochs"] < c.facts["planned_epochs"]]
    notes += [f"Not at the end of their recipe: {', '.join(short)}."] if short else []
    return body + "".join(page.paragraph(note, warning=True) for note in notes)


def _cells(made: Comparison, which: str) -> str:
    """Such as "Test cells: 718 of 12 ALL and 3 HEM patients"."""
    row = made.contestants[0].rows[which][0]
    return f"{which.capitalize()}: {row['n']} cells of {_patients(row['groups'], made.classes)}"


def _patients(groups: Mapping[str, int], classes: Classes) -> str:
    names = dict(zip(("ALL", "HEM"), classes.names(), strict=True))
    return " and ".join(f"{count} {names[label]}" for label, count in groups.items()) + " patients"


def _scaled(value: float | None, factor: float = 1.0) -> str:
    return "–" if value is None else f"{value * factor:.2f}"


def _meaning(classes: Classes) -> str:
    return _MEANING.format(positive=escape(classes.positive), negative=escape(classes.negative))


def _names(made: Comparison) -> list[str]:
    return [each.name for each in made.contestants]


def _sets(made: Comparison) -> list[str]:
    return [which for which in (TEST, NEW) if which in made.contestants[0].rows]


def _runs(made: Comparison) -> str:
    rows = [
        (title, *(_fact(c.facts[key]) for c in made.contestants))
        for key, title in (
            ("network", "Network"),
            ("weights", "Weights it began with"),
            ("recipe", "Recipe"),
            ("size", "Input, pixels"),
            ("epochs", "Epochs done"),
            ("planned_epochs", "Epochs of the recipe"),
            ("images", "Training images"),
            ("seconds_an_epoch", "Seconds an epoch, median"),
        )
    ]
    return page.table("Runs", ("", *_names(made)), rows, kind="facts")


def _fact(value: object) -> str:
    return "–" if value is None else f"{value:.0f}" if isinstance(value, float) else str(value)


def _metrics(made: Comparison) -> str:
    body = ""
    for which in _sets(made):
        rows = [
            (title, *(_value(c.rows[which][0], key) for c in made.contestants)) for key, title in _METRICS
        ]
        even = [
            (
                f"{page.TITLES[key]}, each patient weighing the same",
                *(page.value_with_interval(c.rows[which][0]["by_subject"], key) for c in made.contestants),
            )
            for key in ("auc", "sensitivity", "specificity")
        ]
        body += page.table(f"{_cells(made, which)}, without noise", ("Metric", *_names(made)), rows + even)
    if made.same_patients:
        body += page.paragraph(
            "The test cells are of patients that trained the runs: these figures do not predict new patients; their intervals resample cells."
        )
    return body + page.paragraph(
        "Figures of new patients have intervals over whole patients. With few patients in a class they are too narrow."
    )


def _value(row: Mapping[str, Any], key: str) -> str:
    if key in row["intervals"]:
        return page.value_with_interval(row, key)
    return page.value(row, key)


def _differences(made: Comparison) -> str:
    body = ""
    for row in made.differences:
        lines = [
            (
                page.TITLES[name],
                _signed(each["difference"]),
                _interval(each["over_patients"]),
                _interval(each["over_cells"]),
            )
            for name in DIFFERENCES
            for each in [row["figures"][name]]
        ]
        caption = (
            f"{row['run']} less {row['less']}: {row['cells']}, {row['n']} cells of "
            f"{_patients(row['patients'], made.classes)}"
        )
        body += page.table(caption, ("Figure", "Difference", "Over patients", "Over cells"), lines)
    if not body:
        return page.paragraph("There is one run.")
    return body + page.paragraph(
        "Where a 95 % interval holds 0, the cells do not tell which is better. Over patients: with other patients; with "
        f"{FEW_PATIENTS} or fewer in a class it says next to nothing. Over cells: with other cells of the same patients. "
        "Each resample judges both runs on the same draw."
    )


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:+.3f} … {interval[1]:+.3f}"


def _beside_paper(made: Comparison) -> str:
    rows = []
    for row in paper.RIVALS:
        printed = " / ".join(f"{value:g}" for value in row.accuracy) or (f"F1 {row.f1:g}" if row.f1 else "–")
        here = [
            f"{c.name}: {100 * c.rows[TEST][0]['accuracy']:.1f}, F1 {100 * c.rows[TEST][0]['macro_f1']:.1f}"
            for c in made.contestants
            if c.facts["network"] == row.network
        ]
        rows.append((row.network, printed, row.where, "; ".join(here) or "not run"))
    heads = ("Network", "The paper prints", "Where", "Here, test cells: accuracy, mean F1")
    caption = "Per cent; the paper's three numbers are its folds 0, 1 and 2"
    body = page.table(caption, heads, rows, kind="facts")
    lines = [
        (f"σ\u00a0{sigma:g}", *(f"{value:.2f}" for value in row[:4]), f"{row.auc:.3f}")
        for sigma, row in (paper.RESULTS[made.fold] if made.fold is not None else {}).items()
    ]
    if lines:
        body += page.table(
            f"The paper's MobileNet_M, fold {made.fold}, means of both classes",
            ("Noise", "Precision", "Recall", "F1", "Accuracy", "AUC of hard labels"),
            lines,
        )
    return (
        body
        + page.paragraph(f"Source: {paper.SOURCE}. {paper.MEANS_NOTE}")
        + page.paragraph(
            "The paper's networks began with ImageNet weights and trained longer; what each run here had stands above."
        )
    )


def _confusions(folder: Path, made: Comparison) -> str:
    positive, negative = made.classes.names()
    told = "; ".join(
        f"{c.name}, {which}: of {tp + fn} {positive} {tp} called {positive}, of {fp + tn} {negative} {tn} called {negative}"
        for which in _sets(made)
        for c in made.contestants
        for (tp, fn), (fp, tn) in [c.rows[which][0]["confusion"]]
    )
    return page.picture(
        folder / "confusion.png",
        f"Confusion matrices. {told}.",
        "Rows are what the cell is, columns what the run calls it.",
    )


def _noise(folder: Path, made: Comparison) -> str:
    body = ""
    for which in _sets(made):
        for key in ("accuracy", "auc"):
            lines = [
                (f"{row['sigma']:g}", *(page.value(c.rows[which][place], key) for c in made.contestants))
                for place, row in enumerate(made.contestants[0].rows[which])
            ]
            body += page.table(f"{page.TITLES[key]}, {which}", ("Noise σ", *_names(made)), lines)
    return body + page.picture(
        folder / "noise.png",
        "Accuracy and AUC over the noise; the tables have the numbers.",
        "σ in 8-bit levels.",
    )


def _cameras(folder: Path, made: Comparison) -> str:
    lines = [
        (name, *(page.value(c.suite[name], "auc") for c in made.contestants))
        for name in made.contestants[0].suite
    ]
    worst = "; ".join(f"{c.name}: {camera.worst(c.suite) or '–'}" for c in made.contestants)
    body = page.table("AUC of the scores under each condition", ("Condition", *_names(made)), lines)
    return (
        body
        + page.paragraph(f"The worst: {worst}.")
        + page.picture(
            folder / "cameras.png",
            "AUC under each condition; the table has the numbers.",
            "Further left is worse.",
        )
    )


def _cost(made: Comparison) -> str:
    rows = []
    for c in made.contestants:
        cost = c.cost
        why = page.Markup(f"<small>{escape(cost['refused'])}</small>") if cost["refused"] else ""
        latency = why if why and cost["latency_ms"] is None else _scaled(cost["latency_ms"])
        size = _scaled(cost["int8_bytes"], 1e-6)
        adds = "–" if cost["multiply_adds"] is None else f"{cost['multiply_adds'] / 1e6:.1f}"
        rows.append((c.name, f"{cost['parameters']:,}", adds, size, latency))
    heads = ("Run", "Parameters", "Multiply-adds, million", "int8, MB", "Latency, ms")
    return page.table(
        f"Median of a bare int8 inference, one thread, timed in turn on {made.machine}", heads, rows
    )
