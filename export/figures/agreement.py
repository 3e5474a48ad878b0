"""How often an int8 file says the same as the float network that it was made of, under every camera.

python -m export.figures.agreement RUN MODEL.tflite --data DIR
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from edge.errors import LeukoscopeError
from edge.host.terminal import console
from edge.model.file import read_model
from export.figures.referral import moved
from train.data.dataset import data_root, scan
from train.evaluate.camera import crops_of
from train.evaluate.evaluation import load_scorer
from train.evaluate.metrics import THRESHOLD, Bools
from train.evaluate.predictions import positives


def agreement(is_all: Bools, of_float: Bools, of_int8: Bools) -> dict[str, float]:
    """Of one condition, in percent.

    Args:
        is_all: (N,), whether a cell is ALL.
        of_float, of_int8: (N,), whether it is called ALL.

    Returns:
        `agrees`: the share of the same verdicts; `accuracy_lost`: by int8, in points.
    """
    lost = np.mean(of_float == is_all) - np.mean(of_int8 == is_all)
    return {"agrees": 100 * float(np.mean(of_float == of_int8)), "accuracy_lost": 100 * float(lost)}


def under_every_camera(run: Path, file: Path, data: Path) -> dict[str, dict[str, float]]:
    """`agreement` of each condition of the camera suite (one draw of its noise), at the file's own threshold.

    Raises:
        InputError: `run` is no run, `file` no model file, or `data` no data set.
    """
    shift = float(read_model(file).manifest.calibration.get("shift", 0.0))
    (of_float, _), (of_int8, _) = load_scorer(run), load_scorer(file)
    cells = scan(data)
    is_all = positives(cells)
    pictures = crops_of(data_root(data), [cell.path for cell in cells], of_int8.geometry)
    return {
        name: agreement(
            is_all, moved(of_float.score(crops), shift) >= THRESHOLD, of_int8.score(crops) >= THRESHOLD
        )
        for name, crops in pictures.items()
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """For a terminal: each condition, then the lowest, the mean and the highest of each column."""
    agrees = np.array([each["agrees"] for each in found.values()])
    lost = np.array([each["accuracy_lost"] for each in found.values()])
    rows = [f"{name:34} {each['agrees']:8.2f} {each['accuracy_lost']:8.2f}" for name, each in found.items()]
    return "\n".join(
        [
            f"{'condition':34} agrees %  accuracy lost",
            *rows,
            f"agrees: {agrees.min():.2f} to {agrees.max():.2f} %, mean {agrees.mean():.2f} %",
            f"accuracy lost: {lost.min():.2f} to {lost.max():.2f} points, mean {lost.mean():.2f}",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """The command above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        found = under_every_camera(options.run, options.model, options.data)
    except LeukoscopeError as error:
        print(f"agreement: {error}", file=sys.stderr)
        return error.exit_status
    console.figures(options.json, found, lambda: table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
