"""Several runs in pictures: the paper's Figures 8 and 9, noise and other cameras."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from train.compare.figures import NEW, TEST, Contestant
from train.evaluate import camera
from train.evaluate.paper import RIVALS
from train.plot_style import BLACK, BLUE, GREY, ORANGE, grid, save

_ACROSS = 5
"""Matrices in a row."""

_MARKERS = "os^Dv<>Ph"
_BARS = (("accuracy", "accuracy"), ("macro_f1", "F1, mean of both classes"), ("auc", "AUC of scores"))


def confusions(contestants: Sequence[Contestant], classes: Sequence[str], file: Path) -> None:
    """The confusion matrices of the test cells side by side, those of new patients beneath: the paper's Figure 8."""
    sets = [which for which in (TEST, NEW) if which in contestants[0].rows]
    across = min(len(contestants), _ACROSS)
    down = -(-len(contestants) // across)
    figure = Figure((2.5 * across + 0.4, 2.7 * down * len(sets) + 0.3), layout="constrained")
    axes = grid(figure, down * len(sets), across)
    for block, which in enumerate(sets):
        for cell, each in zip(axes[block * down * across :], contestants, strict=False):
            counts = np.array(each.rows[which][0]["confusion"], dtype=float)
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            cell.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for (y, x), count in np.ndenumerate(counts):
                colour = "white" if shares[y, x] > 0.55 else BLACK
                cell.text(x, y, f"{count:.0f}\n{shares[y, x]:.1%}", ha="center", va="center", color=colour)
            cell.set(xticks=(0, 1), yticks=(0, 1), xticklabels=classes, yticklabels=classes)
            cell.set_title(f"{each.name}\n{which}", fontsize="medium")
    save(figure, file)


def bars(contestants: Sequence[Contestant], fold: int | None, file: Path) -> None:
    """Accuracy, F1 and AUC of every run: the paper's Figure 9; its own accuracies beside, where it prints them.

    Args:
        fold: of an image split, for the paper's figures; else None.
    """
    sets = [which for which in (TEST, NEW) if which in contestants[0].rows]
    figure = Figure((3.7 * len(_BARS) + 0.6, 0.42 * len(contestants) * len(sets) + 1.9), layout="constrained")
    at = np.arange(len(contestants))[::-1] * 1.0
    height = 0.8 / len(sets)
    axes = grid(figure, 1, len(_BARS), sharey=True)
    for panel, (key, title) in zip(axes, _BARS, strict=True):
        for number, (which, colour, hatch) in enumerate(zip(sets, (BLUE, ORANGE), ("", "//"))):
            rows = [each.rows[which][0] for each in contestants]
            values = [row[key] or 0.0 for row in rows]
            ends = [row["intervals"].get(key) for row in rows]
            places = at + height * ((len(sets) - 1) / 2 - number)
            panel.barh(places, values, height, color=colour, hatch=hatch, edgecolor="white", label=which)
            for place, value, interval in zip(places, values, ends, strict=True):
                if interval:
                    panel.plot(interval, (place, place), "-", color=BLACK, linewidth=1)
                panel.text(
                    0.02, place, f"{value:.3f}", va="center", ha="left", fontsize="small", color="white"
                )
        if key == "accuracy" and fold is not None:
            printed = {row.network: row.accuracy[fold] / 100 for row in RIVALS if row.accuracy}
            theirs = [
                (printed[e.facts["network"]], y)
                for e, y in zip(contestants, at)
                if e.facts["network"] in printed
            ]
            if theirs:
                panel.plot(
                    *zip(*theirs), "D", color=BLACK, markersize=6, label="the paper's network of that name"
                )
        panel.set(xlim=(0, 1.0), xlabel=title)
        panel.set_yticks(at, [each.name for each in contestants])
        panel.grid(axis="x", alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize="small")
    save(figure, file)


def noise(contestants: Sequence[Contestant], file: Path) -> None:
    """Accuracy and AUC of every run over the noise, on the test cells and on new patients."""
    sets = [which for which in (TEST, NEW) if which in contestants[0].rows]
    figure = Figure((4.4 * len(sets) + 0.4, 6.6), layout="constrained")
    axes = grid(figure, 2, len(sets), sharex=True)
    panels = [(key, which) for key in ("accuracy", "auc") for which in sets]
    for panel, (key, which) in zip(axes, panels, strict=True):
        for number, each in enumerate(contestants):
            known = [row for row in each.rows[which] if row[key] is not None]
            levels, values = [row["sigma"] for row in known], [row[key] for row in known]
            panel.plot(levels, values, "-", marker=_marker(number), color=_colour(number), label=each.name)
        panel.set(
            title=which, ylabel=key if key == "accuracy" else "AUC of scores", xlabel="noise σ, 8-bit levels"
        )
        panel.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    save(figure, file)


def cameras(contestants: Sequence[Contestant], file: Path) -> None:
    """AUC of every run under each condition of the camera suite."""
    conditions = [condition.name for condition in camera.CONDITIONS]
    figure = Figure((8.6, 6.4), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(conditions))[::-1]
    for number, each in enumerate(contestants):
        known = [
            (each.suite[name]["auc"], y)
            for name, y in zip(conditions, at)
            if each.suite[name]["auc"] is not None
        ]
        if known:
            values, places = zip(*known)
            axes.plot(
                values,
                places,
                "-",
                marker=_marker(number),
                color=_colour(number),
                label=each.name,
                linewidth=1,
            )
    axes.axvline(0.5, color=GREY, linestyle=":", label="guessing")
    axes.set_yticks(at, conditions, fontsize="small")
    axes.set(xlabel="AUC of scores", title="The same cells under another camera, light or lens")
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    save(figure, file)


def _colour(number: int) -> str:
    """Okabe & Ito's eight; the marker tells the ninth from the first."""
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#8C8C8C")
    return colours[number % len(colours)]


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]
