"""External evidence about a model: cross-validations and evaluations of models trained in the same way."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import InputError, LeukoscopeError
from export.figures.referral import Judged, box_logits
from train.data.dataset import subject_group
from train.evaluate import camera, predictions_file
from train.fit.recipe import Recipe
from train.fit.run import Run

CROSS_VALIDATION = "cross-validation over subjects"
"""Key among the manifest's metrics."""

NEW_PATIENTS = "new patients, by a model of the same recipe"
"""Key among the manifest's metrics: of an `evaluate --all` on patients that trained nothing."""

RESTS_ON = "what it rests on"
"""Key among the manifest's metrics: of `train.studies.looks --evidence`."""

SAME_METHOD = "another model of the same method"
"""Kind of the figures of an `evaluate` among the manifest's metrics."""

Figures = dict[str, Any]

_TITLES = {"auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}


@dataclass(frozen=True)
class Evidence:
    """What `export --evidence` was given.

    Attributes:
        metrics: for the manifest, by the name of the cells.
        held_out: the cells of a cross-validation, or of `evaluate --all`, with the scores of models that had not
            seen their patients.
        recipe: of the cross-validation, as its run folders have it; None if they are not there.
    """

    metrics: dict[str, Figures] = field(default_factory=dict)
    held_out: Judged | None = None
    recipe: Recipe | None = None


def read(paths: list[Path]) -> Evidence:
    """Combine the evidence of some files or folders; new patients' cells go before those of a cross-validation.

    Args:
        paths: each the --out folder of `evaluate` or its metrics.json, or a JSON object of one's own with
            a "text" in words and numbers.

    Raises:
        InputError: there is no such file, it is none of these, or two give the same metrics.
    """
    metrics: dict[str, Figures] = {}
    held_out, recipe = None, None
    for path in paths:
        file = path / "metrics.json" if path.is_dir() else path
        found, which = _metrics(file)
        doubled = metrics.keys() & found.keys()
        if doubled:
            raise InputError(f"--evidence {path}: a second one for {', '.join(sorted(doubled))}; give one")
        metrics.update(found)
        predictions = file.with_name(predictions_file.NAME)
        if which and predictions.is_file() and (held_out is None or NEW_PATIENTS in found):
            held_out = _held_out(predictions, which, *found)
            recipe = _recipe(file.parent)
    return Evidence(metrics, held_out, recipe)


def _metrics(file: Path) -> tuple[dict[str, Figures], str]:
    """Metrics by the name of their cells; and which rows of predictions.csv are of new patients, "" for none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--evidence {file}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"--evidence {file}: {error}; give a JSON object") from error
    rows: list[Figures] = content if isinstance(content, list) else []
    try:
        if bool(rows) and all(isinstance(row, dict) and row.get("kind") == "every cell" for row in rows):
            return _of_every_cell(rows)
        if _all_resampled(rows, "subjects"):
            if _is_cross_validation(file, rows):
                return {CROSS_VALIDATION: _of_new_patients(rows)}, "test"
            return _of_one_model(rows[0], "test side of a split by subject"), ""
        if _all_resampled(rows, "cells"):
            return _of_one_model(rows[0], "test side of a split by image"), ""
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"--evidence {file}: not what `leukoscope evaluate` writes ({error!r})") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"--evidence {file}: not a JSON object with metrics")
    if isinstance(content.get("rests_on"), str):
        return {RESTS_ON: {"text": content["rests_on"]}}, ""
    return {CROSS_VALIDATION: content}, ""


def _all_resampled(rows: list[Figures], units: str) -> bool:
    return bool(rows) and all(isinstance(row, dict) and row.get("resampled") == units for row in rows)


def _is_cross_validation(file: Path, rows: list[Figures]) -> bool:
    """Whether rows on new patients are of a cross-validation, not of one model on its test list.

    Rows name their kind; those that older versions wrote are known by the title of their report.
    """
    kind = rows[0].get("kind")
    if kind is not None:
        return bool(kind == "cross-validation")
    page = file.with_name("report.html")
    return not page.is_file() or "<title>Evaluation of" not in page.read_text(
        encoding="utf-8", errors="replace"
    )


def _of_every_cell(rows: list[Figures]) -> tuple[dict[str, Figures], str]:
    """Of `evaluate --all`: all its cells if no patient of them trained, else those of the patients that did not."""
    which = "test" if rows[0]["resampled"] == "subjects" else "other_subjects"
    new = rows if which == "test" else [row[which] | {"sigma": row["sigma"]} for row in rows]
    found = _of_new_patients(new)
    suite = rows[0].get("camera")
    if suite:
        found["camera"] = suite
        found["text"] += "\n\n" + _of_camera(suite)
    return {NEW_PATIENTS: found}, which


def _of_camera(suite: dict[str, Figures]) -> str:
    worst = [
        f"{_titled(suite[name], figure)} ({name})"
        for figure in _TITLES
        for name in [camera.worst(suite, figure)]
        if name
    ]
    return (
        f"Under other cameras ({len(suite)} conditions, over cells, that model's own threshold) the lowest are:\n"
        f"{', '.join(worst)}."
    )


def _of_new_patients(rows: list[Figures]) -> Figures:
    """The main metrics of the rows of new patients, with equal weight for each patient."""
    shown = []
    for row in rows:
        figures = row["by_subject"]
        values = [_titled(figures, name) for name in _TITLES]
        cells = f"; over cells AUC {row['auc']:.3f}" if row.get("auc") is not None else ""
        shown.append(f"- noise of sigma {row['sigma']:g}: {', '.join(values)}{cells}")
    (positive, positives), (negative, negatives) = rows[0]["groups"].items()
    kinds = f"{positives} with ALL, {negatives} healthy" if positive == "ALL" else ""
    kinds = kinds or f"{positives} {positive}, {negatives} {negative}"
    text = (
        f"On patients that trained nothing ({kinds}; {rows[0]['n']} "
        "cells), each patient\nweighing the same within its class, 95 % intervals over patients; a score of 0.5 and "
        f"above\ncalled {positive}:\n\n"
    )
    return {
        "text": text + "\n".join(shown),
        "rows": [
            row["by_subject"] | {name: row[name] for name in ("sigma", "n", "groups", "accuracy", "ece")}
            for row in rows
        ],
    }


def _titled(figures: Figures, name: str) -> str:
    return f"{_TITLES[name]} {with_interval(figures, name)}"


def with_interval(figures: Figures, name: str) -> str:
    """A figure with its interval, if it has one, as text; an AUC with a digit more, so that none becomes a false 1."""
    digits = 3 if name == "auc" else 2
    interval = figures.get("intervals", {}).get(name)
    spread = f" ({interval[0]:.{digits}f}–{interval[1]:.{digits}f})" if interval else ""
    return f"{figures[name]:.{digits}f}{spread}"


def _of_one_model(row: Figures, name: str) -> dict[str, Figures]:
    found = {name: {SAME_METHOD: dict(row)}}
    others = found[name][SAME_METHOD].pop("other_subjects", None)
    if others:
        found["subjects outside that split's fold"] = {SAME_METHOD: others}
    return found


def _held_out(file: Path, which: str, name: str) -> Judged:
    """The cells of a predictions.csv that are of new patients, without noise or with the least that there is."""
    try:
        rows = [row for row in predictions_file.read(file) if row.cells == which]
    except InputError as error:
        raise InputError(f"--evidence {error}") from error
    if not rows:
        raise InputError(f"--evidence {file}: no judged cells in it")
    least = min(row.sigma for row in rows)
    rows = [row for row in rows if row.sigma == least]
    keys = [f"{row.label} {subject_group(row.subject)}" for row in rows]
    return Judged(
        name=name if name == NEW_PATIENTS else f"held out in the {CROSS_VALIDATION}",
        is_all=np.array([row.label == "ALL" for row in rows]),
        logits=box_logits(np.array([row.score for row in rows])),
        patient=np.unique(keys, return_inverse=True)[1].astype(np.intp),
        new_patients=True,
    )


def _recipe(folder: Path) -> Recipe | None:
    try:
        return Run(folder / "fold-0").recipe()
    except LeukoscopeError:  # the predictions alone were kept
        return None
