"""Further tables of a report: other cameras, and the parts of a data set."""

from collections.abc import Mapping
from typing import Any

from train.evaluate import camera, page

_FIGURES = ("auc", "sensitivity", "specificity")
_PARTS = (
    "Part",
    "Cells",
    "Patients (ALL / HEM)",
    "AUC over cells",
    "AUC of the patients' mean scores",
    "AUC, each patient the same",
    "Sensitivity",
    "Specificity",
)


def cameras(suite: Mapping[str, camera.Figures], cells: int) -> str:
    """The camera suite as HTML, its worst condition named.

    Args:
        suite: of `train.evaluate.camera.judge`.
        cells: how many it is of.
    """
    lines = [(name, *(page.value(row, key) for key in _FIGURES)) for name, row in suite.items()]
    worst = camera.worst(suite)
    text = "The same cells under another camera, light or lens, at the model's own threshold."
    return page.paragraph(text + (f" The lowest AUC: {worst}." if worst else "")) + page.table(
        f"{cells} cells", ("Condition", *(page.TITLES[key] for key in _FIGURES)), lines
    )


def parts(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The metrics of each part, a table for each set of cells that has several; "" if none has.

    Args:
        sets: of each set's name, what `train.evaluate.predictions.parts_of` gives.
    """
    body = ""
    for name, found in sets.items():
        lines = [
            (
                part,
                str(row["n"]),
                "{} / {}".format(*row["groups"].values()),
                page.value(row, "auc"),
                *(page.value(row["by_subject"], key) for key in ("auc_of_means", *_FIGURES)),
            )
            for part, row in found.items()
        ]
        caption = f"{name}; the last three with each patient weighing the same"
        body += page.table(caption, _PARTS, lines) if lines else ""
    return body
