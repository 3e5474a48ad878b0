"""The curves of a training, as a PNG file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from train.plot_style import GREY, STYLES, grid, save


def training_curves(history: Sequence[Mapping[str, float]], file: Path) -> None:
    """Loss, accuracy and learning rate over the epochs; a vertical line at the lowest validation loss.

    Args:
        history: one row an epoch; of loss, accuracy, val_loss, val_accuracy and learning_rate any may be
            missing.
        file: the PNG to write.
    """
    panels: tuple[tuple[str, tuple[str, ...], Callable[[Axes], None]], ...] = (
        ("loss", ("loss", "val_loss"), lambda axes: None),
        ("accuracy", ("accuracy", "val_accuracy"), lambda axes: None),
        ("learning rate", ("learning_rate",), lambda axes: axes.set_yscale("log")),
    )
    shown = [panel for panel in panels if any(key in row for row in history for key in panel[1])]
    figure = Figure((3.6 * max(len(shown), 1) + 0.3, 3.5), layout="constrained")
    losses = [(row["val_loss"], epoch) for epoch, row in enumerate(history, 1) if "val_loss" in row]
    for axes, (title, keys, adjust) in zip(grid(figure, 1, max(len(shown), 1)), shown, strict=False):
        for key, (colour, line, marker) in zip(keys, STYLES, strict=False):
            points = [(epoch, row[key]) for epoch, row in enumerate(history, 1) if key in row]
            label = "validation" if key.startswith("val_") else "training"
            if points:
                axes.plot(
                    *zip(*points, strict=True), line, marker=marker, markersize=3, color=colour, label=label
                )
        if losses:
            axes.axvline(min(losses)[1], color=GREY, linestyle=":", label=f"best: epoch {min(losses)[1]}")
        adjust(axes)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    save(figure, file)
