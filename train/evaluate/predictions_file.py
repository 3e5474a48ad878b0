"""predictions.csv: the score of each evaluated cell, one row per cell and noise level."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from edge.errors import InputError
from edge.host.durable import replace_file
from edge.host.text import spreadsheet_cell
from train.data.dataset import LABELS, Label
from train.evaluate.predictions import Predictions, Which

NAME = "predictions.csv"


class Row(NamedTuple):
    """One judged cell.

    Attributes:
        path, subject, label: as in `train.data.dataset.Cell`.
        sigma: of the noise on the crop, in 8-bit levels.
        score: the probability of ALL.
        cells: as in `train.evaluate.predictions.Predictions.which`.
    """

    path: str
    subject: str
    label: Label
    sigma: float
    score: float
    cells: Which


def write(file: Path, predictions: Sequence[Predictions]) -> None:
    """Write the rows of some predictions, in their order.

    Labels are ALL for the positive class and HEM for the other, whatever the data set calls them.

    Raises:
        LeukoscopeError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(Row._fields)
    for part in predictions:
        for cell, score in zip(part.cells, part.scores, strict=True):
            path, subject = spreadsheet_cell(cell.path), spreadsheet_cell(cell.subject)
            table.writerow((path, subject, cell.label, f"{part.sigma:g}", f"{score:.6f}", part.which))
    replace_file(file, text.getvalue().encode())


def read(file: Path) -> list[Row]:
    """The rows of a file that `write` wrote.

    Raises:
        InputError: it is none.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return [_row(row) for row in csv.DictReader(lines)]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; give the folder of an `evaluate --out`") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file}: not what `leukoscope evaluate` writes ({error!r}); give the folder of an `evaluate --out`"
        ) from error


def _row(text: Mapping[str, str]) -> Row:
    label, score, cells = text["label"], float(text["score"]), text["cells"]
    if label not in LABELS or cells not in get_args(Which) or not 0 <= score <= 1:
        raise ValueError(f"label {label}, score {score}, cells {cells}")
    path, subject = _unquoted(text["path"]), _unquoted(text["subject"])
    return Row(path, subject, label, float(text["sigma"]), score, cells)  # type: ignore[arg-type]


def _unquoted(text: str) -> str:
    """What `spreadsheet_cell` was given."""
    return text[1:] if text[:1] == "'" and spreadsheet_cell(text[1:]) == text else text
