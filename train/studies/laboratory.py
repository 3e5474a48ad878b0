"""Another laboratory: what reviewed cells of it give, by the adaptation that `leukoscope adapt` makes.

python -m train.studies.laboratory MODEL.tflite --data DIR...       # patients that did not train the model
python -m train.studies.laboratory MODEL.tflite --typed DIR --positive immature_granulocyte --negative lymphocyte

--data: C-NMC as another laboratory would show it, through another stain, lens and camera (`OTHER`), and as it is. In each
draw half of the patients of each class are reviewed, N of their cells, and all cells of the others are judged.

--typed: pictures of a real other laboratory in folders named by cell type, found and cut out as whole fields are. It has
no leukemic cells, so two types stand for the classes, and no patients, so cells stand for them: a look at another stain
and camera, no figure for patients.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.errors import InputError, LeukoscopeError
from edge.imaging.files import find_images, read_image
from edge.imaging.frame import Pixels
from edge.laboratory import fit
from edge.laboratory.seen import Seen, of_crops, tone_for
from edge.model.classifier import Classifier
from edge.model.fields import FieldClassifier
from edge.model.file import ModelFile, read_model
from train.data.dataset import load, subject_group
from train.evaluate.camera import (
    CLEAN,
    Change,
    Condition,
    blurred,
    compressed,
    crops_of,
    one_after_the_other,
    sized,
    toned,
)
from train.evaluate.metrics import weighted_auc

REVIEWED = (10, 20, 40, 80)
DRAWS = 20
MIDDLE_PX = 60.0
"""A typed picture shows its cell so near to its middle."""

_CELL_LEVELS = 8
_WHITE = 245.0


def stained(factors: Sequence[float]) -> Change:
    """Another stain: each channel's optical density times a factor, red first; the black around the cell stays."""

    def change(pixels: Pixels) -> Pixels:
        cell = (pixels.max(axis=2) > _CELL_LEVELS)[..., np.newaxis]
        density = -np.log(np.clip(pixels.astype(np.float32), 1, _WHITE) / _WHITE)
        levels = _WHITE * np.exp(-density * np.asarray(factors, np.float32))
        return np.where(cell, np.clip(np.rint(levels), 0, 255), pixels).astype(np.uint8)

    return change


OTHER = Condition(
    "another laboratory",
    one_after_the_other(
        stained((0.70, 1.15, 1.45)), sized(0.92), blurred(1.2), toned(1.15, (1.05, 1.0, 0.92)), compressed(80)
    ),
    noise_sigma_levels=4,
)
"""Stain: density of red 0.70, of green 1.15, of blue 1.45 times as high. Lens: cells 0.92 times as large, blur of 1.2
pixels. Camera: gamma 1.15, red +5 %, blue -8 %, JPEG 80, noise of 4 levels."""


@dataclass(frozen=True)
class Draw:
    """One draw: AUC, sensitivity and specificity on cells that were not reviewed.

    Attributes:
        before: of the base.
        toned: of the base, shown the cells in the tone of its training.
        after: of the new layer.
    """

    before: tuple[float, float, float]
    toned: tuple[float, float, float]
    after: tuple[float, float, float]


Look = Callable[[fit.Rows], Seen]
"""What the network sees of all cells, as an adaptation to these rows would show them to it."""


def study(
    seen: Seen, draws: int = DRAWS, reviewed: Sequence[int] = REVIEWED, look: Look | None = None
) -> dict[int, list[Draw]]:
    """Every number of reviewed cells to its draws.

    Args:
        seen: all cells as they are. Where each class has two specimens or more, specimens are reviewed or judged; else
            cells.
        look: see `Look`; None for as they are.
    """
    found: dict[int, list[Draw]] = {number: [] for number in reviewed}
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        pool, judged = _sides(seen, rng)
        for number in reviewed:
            rows = _reviewed(seen, pool, number, rng)
            if rows is None:
                continue
            shown = seen if look is None else look(rows)
            layer, _ = fit.fit(shown.of(rows))
            held = shown.of(judged)
            before = seen.base[judged, 0]
            scores = before, held.base[:, 0], layer.log_odds(held)
            found[number].append(Draw(*(_figures(held, each) for each in scores)))
    return found


class Cells(NamedTuple):
    """Cells of one laboratory: crops (N, size, size, 3) uint8 RGB, classes and specimens (N,)."""

    crops: Pixels
    positive: npt.NDArray[np.bool_]
    specimen: npt.NDArray[np.str_]

    def seen(self, model: ModelFile) -> Seen:
        """As they are."""
        return of_crops(model, self.crops, self.positive, self.specimen)

    def look(self, model: ModelFile, unreviewed: bool) -> Look:
        """With the tone that the reviewed cells ask for, or these and all others, whose labels are not used."""

        def look(rows: fit.Rows) -> Seen:
            tone = tone_for(model, self.crops if unreviewed else self.crops[rows])
            return of_crops(model, self.crops, self.positive, self.specimen, tone=tone)

        return look


def _sides(seen: Seen, rng: np.random.Generator) -> tuple[fit.Rows, fit.Rows]:
    """Rows that may be reviewed, and rows that are judged; no specimen in both."""
    groups = np.array(fit.groups(seen))
    pool: list[str] = []
    for label in (True, False):
        names = np.unique(groups[seen.positive == label])
        pool += list(rng.permutation(names)[: max(1, len(names) // 2)])
    mine = np.isin(groups, pool)
    return np.flatnonzero(mine), np.flatnonzero(~mine)


def _reviewed(seen: Seen, pool: fit.Rows, number: int, rng: np.random.Generator) -> fit.Rows | None:
    """Half of each class, as far as there are so many; None if there are fewer than half of what is asked for."""
    rows: list[int] = []
    for label in (True, False):
        mine = pool[seen.positive[pool] == label]
        rows += list(rng.permutation(mine)[: number // 2])
    return np.array(rows) if len(rows) >= 0.8 * number else None


def _figures(seen: Seen, scores: fit.Scores) -> tuple[float, float, float]:
    called, positive = scores >= 0, seen.positive
    auc = float(weighted_auc(positive, scores, np.ones((1, len(scores))))[0])
    return auc, float(called[positive].mean()), float((~called[~positive]).mean())


def of_data(model: ModelFile, data: Sequence[Path], conditions: Sequence[Condition]) -> dict[str, Cells]:
    """Of each condition, the cells of some data sets.

    Raises:
        InputError: they cannot be read.
    """
    found = load(list(data))
    paths = [cell.path for cell in found.cells]
    positive = np.array([cell.label == "ALL" for cell in found.cells])
    specimen = np.array([subject_group(cell.subject) for cell in found.cells])
    crops = crops_of(found.root, paths, model.manifest.geometry, conditions)
    return {name: Cells(each, positive, specimen) for name, each in crops.items()}


def of_typed(model: ModelFile, folder: Path, positive: str, negative: str) -> Cells:
    """The cell in the middle of each picture in two folders named by type.

    Raises:
        InputError: a folder is missing.
    """
    fields, crops, labels = FieldClassifier(model, Classifier(model)), [], []
    for name in (positive, negative):
        if not (folder / name).is_dir():
            raise InputError(f"{folder / name}: no such folder")
        for file in find_images([folder / name]):
            crop = _middle(fields, read_image(file))
            if crop is not None:
                crops.append(crop)
                labels.append(name == positive)
    return Cells(np.array(crops), np.array(labels), np.array(["one"] * len(labels)))


def _middle(fields: FieldClassifier, picture: Pixels) -> Pixels | None:
    fields.forget()
    height, width = picture.shape[:2]
    cells = fields.judge(picture).cells
    away = [np.hypot(cell.cell.centre[0] - width / 2, cell.cell.centre[1] - height / 2) for cell in cells]
    if not cells or min(away) > MIDDLE_PX:
        return None
    return cells[int(np.argmin(away))].crop


def table(name: str, seen: Seen, draws: dict[int, list[Draw]]) -> str:
    """As Markdown: means over the draws, and the range of the AUC."""
    over = "patients" if fit.by_specimen(seen) else "cells"
    counts = f"{int(seen.positive.sum())} and {int((~seen.positive).sum())} cells"
    lines = [
        f"{name}: {counts} of {len(set(seen.specimen))} {over if over == 'patients' else 'source'}; "
        f"means over draws, judged on {over} that were not reviewed",
        "",
        "| reviewed cells | draws | AUC before | by the tone alone | AUC after (lowest to highest) | sensitivity, specificity before "
        "| by the tone alone | after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, each in draws.items():
        if not each:
            continue
        b, t, a = (
            np.mean(part, axis=0) for part in zip(*((d.before, d.toned, d.after) for d in each), strict=True)
        )
        low, high = (found(draw.after[0] for draw in each) for found in (min, max))
        called = " | ".join(f"{part[1]:.2f}, {part[2]:.2f}" for part in (b, t, a))
        lines.append(
            f"| {number} | {len(each)} | {b[0]:.3f} | {t[0]:.3f} | {a[0]:.3f} ({low:.3f} to {high:.3f}) | {called} |"
        )
    return "\n".join(lines)


def as_json(draws: dict[int, list[Draw]]) -> dict[str, Any]:
    """Every draw."""
    return {
        str(number): [[draw.before, draw.toned, draw.after] for draw in each]
        for number, each in draws.items()
    }


def main() -> int:
    """The commands above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--data", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--typed", type=Path, metavar="DIR")
    parser.add_argument("--positive", default="immature_granulocyte", metavar="TYPE")
    parser.add_argument("--negative", default="lymphocyte", metavar="TYPE")
    parser.add_argument("--draws", type=int, default=DRAWS, metavar="N")
    parser.add_argument(
        "--over",
        choices=("patients", "cells"),
        default="patients",
        help="cells: those that are judged may be of patients that were reviewed, which flatters",
    )
    parser.add_argument(
        "--unreviewed",
        action="store_true",
        help="the strength of the stain is taken of all cells, as of a box that has seen them, not of the reviewed alone",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if (options.data is None) == (options.typed is None):
        parser.error("give --data or --typed")
    try:
        model = read_model(options.model)
        if options.data:
            cells = of_data(model, options.data, (Condition(CLEAN), OTHER))
            if options.over == "cells":
                cells = {
                    name: each._replace(specimen=np.full(len(each.positive), "one"))
                    for name, each in cells.items()
                }
        else:
            name = f"{options.typed}: {options.positive} and {options.negative}"
            cells = {name: of_typed(model, options.typed, options.positive, options.negative)}
    except LeukoscopeError as error:
        print(f"laboratory: {error}", file=sys.stderr)
        return error.exit_status
    for name, each in cells.items():
        seen = each.seen(model)
        draws = study(seen, options.draws, look=each.look(model, options.unreviewed))
        title = "the same laboratory" if name == CLEAN else name
        print(
            json.dumps({title: as_json(draws)}) if options.json else table(title, seen, draws) + "\n",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
