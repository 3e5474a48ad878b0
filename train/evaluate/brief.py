"""What a reader of a report sees first, its figures in a few sentences, and the cells that were judged wrong."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from edge.classify.contact_sheet import thumbnail
from edge.errors import LeukoscopeError
from edge.imaging.files import read_image
from train.data.dataset import Classes
from train.evaluate import page
from train.evaluate.metrics import THRESHOLD
from train.evaluate.predictions import Predictions

SHOWN = 12
"""Wrong cells of one set, those with the highest confidence."""

Row = Mapping[str, Any]


def in_short(sets: Mapping[str, Sequence[Row]], classes: Classes) -> str:
    """The figures of each set without noise, and of the first set under the strongest noise, as HTML.

    Args:
        sets: name of a set of cells → its rows, one per noise level; new patients first.
    """
    lines = [_sentence(f"{name}, {_size(rows[0])}", rows[0], classes) for name, rows in sets.items()]
    name, rows = next(iter(sets.items()))
    if len(rows) > 1:
        lines.append(_sentence(f"{name}, noise of sigma {rows[-1]['sigma']:g}", rows[-1], classes))
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>\n"


def _size(row: Row) -> str:
    patients = sum(row["groups"].values())
    return f"{patients} patient{'' if patients == 1 else 's'}, {row['n']} cells"


def _sentence(what: str, row: Row, classes: Classes) -> str:
    (tp, fn), (fp, tn) = row["confusion"]
    positive, negative = escape(classes.positive), escape(classes.negative)
    return (
        f"<b>{escape(what)}</b>: {tp} of {tp + fn} {positive} cells called {positive} (sensitivity "
        f"{page.value(row, 'sensitivity')}), {tn} of {fp + tn} {negative} cells called {negative} "
        f"(specificity {page.value(row, 'specificity')}); AUC {page.value(row, 'auc')}."
    )


def wrong_cells(sets: Mapping[str, Predictions], images: Path, classes: Classes) -> str:
    """The wrong verdicts of each set, the most confident first, with their pictures, as HTML.

    Args:
        sets: name of a set of cells → its scores at one noise level.
        images: the folder that the paths of the cells are relative to; a picture that is not there any more is
            named alone.
    """
    body = ""
    for name, made in sets.items():
        wrong = np.flatnonzero((made.scores >= THRESHOLD) != made.is_all)
        order = wrong[np.argsort(-np.abs(made.scores[wrong] - THRESHOLD), kind="stable")]
        body += f"<h3>{escape(name)}: {len(wrong)} of {len(made.cells)} cells wrong</h3>\n"
        if len(wrong) > SHOWN:
            body += page.paragraph(f"The {SHOWN} with the highest confidence:")
        tiles = "".join(_tile(made, index, images, classes) for index in order[:SHOWN])
        body += f'<div class="cells">{tiles}</div>\n' if tiles else ""
    return body


def _tile(made: Predictions, index: int, images: Path, classes: Classes) -> str:
    cell, score = made.cells[index], float(made.scores[index])
    called = classes.positive if score >= THRESHOLD else classes.negative
    label = classes.positive if cell.label == "ALL" else classes.negative
    name = Path(cell.path).name
    try:
        image = f'<img src="{thumbnail(read_image(images / cell.path))}" alt="{escape(name)}">'
    except LeukoscopeError:
        image = "<p>picture not there any more</p>"
    told = f"called {escape(called)}, is {escape(label)}<br>p({escape(classes.positive)}) {score:.3f}"
    return f"<figure>{image}<figcaption>{told}<br><small>{escape(name)}</small></figcaption></figure>\n"
