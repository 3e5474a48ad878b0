"""predictions.csv: what each judged cell scored, a row a cell and noise level."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from edge.errors import InputError
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
    """Write the rows of some predictions, in their order."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(Row._fields)
        for part in predictions:
            for cell, score in zip(part.cells, part.scores, strict=True):
                row = (cell.path, cell.subject, cell.label, f"{part.sigma:g}", f"{score:.6f}", part.which)
                table.writerow(row)


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
    return Row(text["path"], text["subject"], label, float(text["sigma"]), score, cells)  # type: ignore[arg-type]
