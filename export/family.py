"""The table of the models that ship, written from the files themselves, with each file's card beside it.

python -m export.family models/*.tflite --out models/README.md
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench.machine import machine
from edge.errors import LeukoscopeError
from edge.model.file import Manifest, ModelFile, read_model, verify
from edge.model.installed import DEFAULT_MODEL
from edge.notice import NOTICE
from export.figures.evidence import CROSS_VALIDATION, NEW_PATIENTS, SAME_METHOD, with_interval
from export.int8.flatbuffer import multiply_adds
from export.latency import invoke_ms

Figures = dict[str, Any]

BOARDS = (
    (300e6, "Raspberry Pi 5, Jetson Orin"),
    (20e6, "Raspberry Pi 4"),
    (0.0, "Raspberry Pi Zero 2 W, or beside other work"),
)
"""From so many multiply-adds on: by the times that others measured of MobileNet 1.0/224 in int8 (24 ms on a Pi 4
with all cores, 9 on a Pi 5, 6 on the processor of an Orin Nano), and a few milliseconds as the goal."""

_HEAD = """# The models that ship
**Research and second opinion only. Not a medical device, not a diagnosis.** Read the card of a model before use.

"""

_COLUMNS = (
    "model",
    "size, MB",
    "multiply-adds, million",
    "latency here, ms",
    "int8 agrees with float",
    "image split: accuracy",
    "new patients: AUC",
    "sensitivity",
    "specificity",
    "refers below",
    "for",
)

_TAIL = """
- **New patients**: each judged by a model that has not seen it (of the same recipe, where the file itself was trained on
  everyone), each weighing the same within its class; no noise; 95 % intervals over patients in brackets. The figures
  that count; the card says which patients, and what a cross-validation over subjects had, where there was one.
- **Image split**: cells of the same patients on both sides; to compare with the paper, of another model of the
  same method where the file itself was trained on every cell. It says little about a new patient.
- **Refers below**: a cell whose likelier class has less than this is referred to a person (the card says what that does).
- **Latency here**: the bare network, median (and 10th percentile) of {runs} runs of each file in turn, {threads} thread, on {machine}.
- **For**: chosen by the amount of work, from the times that others measured on those boards; none was measured here.
- `leukoscope` uses {default} where no other is named.

`leukoscope model show NAME` prints the card and the main facts (`--manifest`: everything), `verify` checks the file. This table and the cards
beside it are written by `python -m export.family models/*.tflite --out models/README.md`.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One model in the table.

    Attributes:
        latency_ms: 10th percentile and median.
    """

    model: ModelFile
    file_bytes: int
    latency_ms: tuple[float, float]

    def cells(self) -> list[str]:
        """As text, in the order of the columns."""
        manifest, work = self.model.manifest, multiply_adds(self.model.flatbuffer)
        new = new_patients(manifest)
        return [
            f"[{manifest.name}]({self.model.path.stem}.md)",
            f"{self.file_bytes / 1e6:.2f}",
            f"{work / 1e6:.1f}",
            f"{self.latency_ms[1]:.2f} ({self.latency_ms[0]:.2f})",
            f"{manifest.parity['agreement']:.2%}" if "agreement" in manifest.parity else "–",
            _share(image_split(manifest), "accuracy"),
            *(_or_dash(new, name) for name in ("auc", "sensitivity", "specificity")),
            f"{manifest.refer_below:g}" if manifest.refer_below else "never",
            next(board for least, board in BOARDS if work >= least),
        ]


def image_split(manifest: Manifest) -> Figures:
    """The figures on a split by image: the file's own, else those of another model of the same method."""
    for cells, kinds in manifest.metrics.items():
        if "split by image" in cells and cells.startswith("test side"):
            return dict(kinds.get("int8") or kinds.get(SAME_METHOD) or {})
    return {}


def new_patients(manifest: Manifest) -> Figures:
    """The figures on new patients: of the evidence, else the file's own on patients it has not seen."""
    known: Figures = manifest.metrics.get(NEW_PATIENTS) or manifest.metrics.get(CROSS_VALIDATION, {})
    if known.get("rows"):
        return dict(known["rows"][0])
    own: Figures = manifest.metrics.get("other subjects", {})
    return dict(own["int8"]["by_subject"]) if "int8" in own else {}


def table(rows: Sequence[Row]) -> str:
    """The table in Markdown, the largest network first."""
    ordered = sorted(rows, key=lambda row: -multiply_adds(row.model.flatbuffer))
    lines = [_COLUMNS, ["---"] * len(_COLUMNS), *(row.cells() for row in ordered)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(files: Sequence[Path], out: Path, runs: int, threads: int) -> None:
    """Write the table to `out`, and each model's card beside it.

    Raises:
        InputError: a file is no model file.
        LeukoscopeError: it cannot be written.
    """
    models = [read_model(file) for file in files]
    for model in models:
        verify(model)
    durations = invoke_ms(list(files), runs, threads)
    rows = [
        Row(model, model.path.stat().st_size, (float(np.percentile(ms, 10)), float(np.median(ms))))
        for model, ms in zip(models, durations, strict=True)
    ]
    tail = _TAIL.format(runs=runs, threads=threads, machine=machine(), default=DEFAULT_MODEL)
    try:
        for model in models:
            (out.parent / f"{model.path.stem}.md").write_text(model.card, encoding="utf-8")
        out.write_text(_HEAD + table(rows) + tail, encoding="utf-8")
    except OSError as error:
        raise LeukoscopeError(f"{out}: {error.strerror}") from error


def _share(figures: Figures, name: str) -> str:
    return f"{figures[name]:.1%}" if figures.get(name) is not None else "–"


def _or_dash(figures: Figures, name: str) -> str:
    return "–" if figures.get(name) is None else with_interval(figures, name)


def main(arguments: list[str] | None = None) -> int:
    """Write the table; 2 where a file is no model file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="MODEL.tflite")
    parser.add_argument("--out", type=Path, required=True, metavar="README.md")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        write(options.files, options.out, options.runs, options.threads)
    except LeukoscopeError as error:
        print(f"leukoscope: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{options.out}: {len(options.files)} models; {NOTICE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
