"""Style of all plots of the host: colours, line styles, the grid of axes, the file's resolution.

Colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart; marker and line style
say the same once more, so that nothing is lost in a black-and-white print.
"""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#8C8C8C"
STYLES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"))
DPI = 130


def grid(figure: Figure, down: int, across: int, **shared: Any) -> list[Axes]:
    """The axes of a grid, row by row."""
    return list(figure.subplots(down, across, squeeze=False, **shared).ravel())


def save(figure: Figure, file: Path) -> None:
    """Write the figure as a PNG file; axes without data are left blank."""
    for axes in figure.axes:
        if not axes.has_data():
            axes.set_axis_off()
    figure.savefig(file, dpi=DPI, metadata={"Software": None})
