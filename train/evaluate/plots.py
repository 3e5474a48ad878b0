"""Plots of an evaluation, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from train.data.dataset import LABELS
from train.evaluate.metrics import CALIBRATION_BINS, THRESHOLD, Bools, Floats, calibration_bin
from train.evaluate.paper import PaperRow
from train.plot_style import BLACK, BLUE, GREY, ORANGE, STYLES, grid, save

Named = Mapping[str, tuple[Bools, Floats]]
"""Name of a set of cells → (N,) bool truth, (N,) float64 scores."""


def confusion(
    rows: Sequence[Mapping[str, Any]], title: str, file: Path, classes: Sequence[str] = LABELS
) -> None:
    """The confusion matrix of each noise level, coloured by the share of each true class.

    Args:
        classes: names of the positive and the negative class.
        rows: with sigma and confusion [[tp, fn], [fp, tn]].
    """
    across = min(len(rows), 3)
    down = -(-len(rows) // across)
    figure = Figure((2.9 * across + 0.4, 2.75 * down + 0.5), layout="constrained")
    figure.suptitle(title)
    for axes, row in zip(grid(figure, down, across), rows, strict=False):
        counts = np.array(row["confusion"], dtype=float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (y, x), count in np.ndenumerate(counts):
            text = f"{count:.0f}\n{shares[y, x]:.1%}"
            axes.text(x, y, text, ha="center", va="center", color="white" if shares[y, x] > 0.55 else BLACK)
        axes.set(xticks=(0, 1), yticks=(0, 1), xticklabels=classes, yticklabels=classes)
        axes.set(xlabel="model", ylabel="label", title=f"noise σ = {row['sigma']:g}")
    save(figure, file)


def roc(sets: Named, aucs: Mapping[str, float | None], file: Path) -> None:
    """ROC curves with their areas; a ring marks the threshold in use. Sets without both classes are left out."""
    figure = Figure((4.7, 4.4), layout="constrained")
    axes = figure.subplots()
    for (name, (is_all, score)), (colour, line, _) in zip(sets.items(), STYLES, strict=False):
        if aucs[name] is None:
            continue
        false, true = _roc_points(is_all, score)
        axes.plot(false, true, line, color=colour, label=f"{name}: AUC {aucs[name]:.3f}", linewidth=2)
        verdict = score >= THRESHOLD
        point = ([(verdict & ~is_all).sum() / (~is_all).sum()], [(verdict & is_all).sum() / is_all.sum()])
        axes.plot(*point, "o", color=colour, markersize=10, markerfacecolor="none", markeredgewidth=2)
    axes.plot((0, 1), (0, 1), ":", color=GREY, label="random: AUC 0.5")
    axes.set(xlabel="1 − specificity (false alarms)", ylabel="sensitivity (positive cells found)")
    axes.set(title="ROC; ring: the threshold in use, 0.5", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(loc="lower right")
    save(figure, file)


def reliability(sets: Named, eces: Mapping[str, float], file: Path) -> None:
    """How often the model is right at each confidence, over the number of cells there; ECE in the titles."""
    figure = Figure((4.4 * len(sets) + 0.4, 4.8), layout="constrained")
    grid = figure.subplots(2, len(sets), squeeze=False, sharex=True, height_ratios=(3, 1))
    edges = np.arange(CALIBRATION_BINS + 1) / CALIBRATION_BINS
    for column, (name, (is_all, score)) in enumerate(sets.items()):
        confidence = np.maximum(score, 1 - score)
        right = (score >= THRESHOLD) == is_all
        bins = calibration_bin(confidence)
        counts = np.bincount(bins, minlength=CALIBRATION_BINS)
        filled = np.flatnonzero(counts)
        means = [[values[bins == b].mean() for b in filled] for values in (confidence, right)]
        upper, lower = grid[0][column], grid[1][column]
        upper.plot((0.5, 1), (0.5, 1), ":", color=GREY, label="perfectly calibrated")
        upper.plot(*means, "-o", color=BLUE, label="this model")
        upper.set(title=f"{name}\nECE {eces[name]:.3f}", ylabel="share that is correct", ylim=(-0.03, 1.03))
        upper.legend(loc="lower right")
        lower.bar(edges[:-1], counts, 1 / CALIBRATION_BINS, align="edge", color=ORANGE, edgecolor="white")
        lower.set(xlabel="confidence of the verdict", ylabel="cells", xlim=(0.46, 1.01))
    save(figure, file)


def noise(
    sets: Mapping[str, Sequence[Mapping[str, Any]]], paper: Mapping[float, PaperRow], file: Path
) -> None:
    """Accuracy and AUC over the noise, with 95 % intervals, and the paper's beside if there are any.

    Args:
        sets: name of a set of cells → its rows, with sigma, accuracy, auc, auc_hard_labels, intervals.
        paper: its figures by sigma; empty if they are not comparable.
    """
    panels = (
        ("accuracy", "accuracy", "accuracy"),
        ("auc_hard_labels", "balanced_accuracy", "AUC of hard labels"),
        ("auc", "auc", "AUC of scores"),
    )
    figure = Figure((8.6, 3.9), layout="constrained")
    for axes, (key, interval, title) in zip(grid(figure, 1, 3, sharey=True), panels, strict=True):
        for (name, rows), (colour, line, marker) in zip(sets.items(), STYLES, strict=False):
            known = [row for row in rows if row[key] is not None]
            levels, values = [row["sigma"] for row in known], [row[key] for row in known]
            axes.plot(levels, values, line, marker=marker, color=colour, label=name, zorder=3)
            spread = [
                (row["sigma"], *row["intervals"][interval]) for row in known if row["intervals"][interval]
            ]
            if spread:
                axes.fill_between(*np.array(spread).T, color=colour, alpha=0.15, linewidth=0)
        if paper and key != "auc":
            values = [row.accuracy if key == "accuracy" else row.auc for row in paper.values()]
            axes.plot(list(paper), values, ":", marker="x", color=BLACK, label="paper, split by image")
        axes.set(title=title, xlabel="noise σ (8-bit levels)")
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Over the noise of the image; bands: 95 % intervals", fontsize="medium")
    save(figure, file)


def subjects(
    sets: Mapping[str, Mapping[str, Mapping[str, Any]]], file: Path, classes: Sequence[str] = LABELS
) -> None:
    """Share of each patient's cells that is right, the worst at the bottom; larger dots are more cells.

    Args:
        sets: name of a set of cells → its per_subject.
        classes: names of the positive and the negative class.
    """
    rows = max(len(per_subject) for per_subject in sets.values())
    figure = Figure((4.4 * len(sets) + 0.4, max(3.0, 0.21 * rows + 1.5)), layout="constrained")
    for axes, (name, per_subject) in zip(grid(figure, 1, len(sets)), sets.items(), strict=True):
        ordered = sorted(per_subject.items(), key=lambda item: (item[1]["accuracy"], item[0]))
        for label, (colour, marker) in zip(classes, ((BLUE, "o"), (ORANGE, "s")), strict=True):
            at = [i for i, (_, row) in enumerate(ordered) if row["label"] == label]
            sizes = [18 + 6 * ordered[i][1]["n"] ** 0.5 for i in at]
            values = [ordered[i][1]["accuracy"] for i in at]
            axes.scatter(values, at, s=sizes, color=colour, marker=marker, label=f"{label} patient", zorder=3)
        axes.set_yticks(range(len(ordered)), [f"{key} (n={row['n']})" for key, row in ordered], fontsize=7)
        axes.set(xlim=(-0.03, 1.03), xlabel="accuracy", title=name)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", fontsize="small")
    save(figure, file)


def _roc_points(is_all: Bools, score: Floats) -> tuple[Floats, Floats]:
    """(K,) shares of HEM and (K,) of ALL at or above each distinct score, from none to all of them."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    true = np.cumsum(is_all[order])[ends] / is_all.sum()
    false = np.cumsum(~is_all[order])[ends] / (~is_all).sum()
    return np.concatenate(([0.0], false)), np.concatenate(([0.0], true))
