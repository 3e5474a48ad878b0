"""`leukoscope export`: a run → the one model file, with its parity report and card."""

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import InputError, LeukoscopeError
from edge.modelfile import InputFormat, Manifest, OutputFormat, read_model, write_model
from export.card import card
from export.convert import representative_sample, tensors, to_int8
from train.dataset import LABELS
from train.evaluation import cells_of, int8_scorer, load_scorer, other_subjects, score_cells
from train.fit import Run, environment, load_side
from train.intervals import Resample
from train.predictions import figures_of
from train.recipe import Recipe

log = logging.getLogger(__name__)


def export(options: argparse.Namespace) -> int:
    """Convert, compare with the float model on the test side, write; 1 where int8 loses too much."""
    run = Run(options.run)
    recipe = run.recipe()
    if (recipe.model.input_low, recipe.model.input_high) != (0.0, 1.0):
        raise InputError(
            f"{options.run}: trained with input in other than [0, 1]; the box has no such scaling yet"
        )
    data = options.data or Path(run.environment().get("data", ""))
    if not data.is_dir():
        raise InputError(f"data set {data}: no such folder; give it with --data")
    cells, crops = load_side(data, run.split(), "train", recipe)
    sample = representative_sample([(cell.label, cell.subject) for cell in cells], options.representative)
    log.info("converting, calibrated on %d of %d training crops", len(sample), len(cells))
    flatbuffer = to_int8(run.best_model(), np.asarray(crops[sample]), recipe.model)

    manifest = _manifest(run, recipe, flatbuffer, [cells[i].path for i in sample])
    write_model(options.out, flatbuffer, manifest, "")
    metrics, parity = _measure(options.run, options.out, run, data)
    manifest.metrics.update(metrics)
    manifest.parity.update(parity)
    write_model(options.out, flatbuffer, manifest, card(manifest))
    read_model(options.out)
    print(
        f"{options.out}: int8 agrees with float on {parity['agreement']:.2%}, loses {parity['drop_points']:.2f} points"
    )
    if parity["drop_points"] > options.max_drop:
        raise LeukoscopeError(
            f"{options.out}: int8 loses {parity['drop_points']:.2f} points of accuracy, more than "
            f"--max-drop {options.max_drop}; try more --representative images"
        )
    return 0


def _manifest(run: Run, recipe: Recipe, flatbuffer: bytes, representative: list[str]) -> Manifest:
    entry, output = tensors(flatbuffer)
    progress, split = run.progress(), run.split()
    assert progress is not None  # best.keras was loaded, so an epoch has ended
    size = f"{recipe.model.alpha:g}".replace(".", "_") if recipe.model.alpha != 1 else "1_0"
    return Manifest(
        name=f"mobilenet_m_{size}_{recipe.model.size}",
        labels=list(LABELS),
        geometry=recipe.model.geometry,
        input=InputFormat(
            dtype="int8",
            scale=float(entry["quantization"][0]),
            zero_point=int(entry["quantization"][1]),
            colour="RGB",
        ),
        outputs=[
            OutputFormat(
                name="probabilities",
                index=0,
                shape=[int(n) for n in output["shape"]],
                dtype="int8",
                scale=float(output["quantization"][0]),
                zero_point=int(output["quantization"][1]),
                activation="softmax",
            )
        ],
        training={
            "data": "C-NMC 2019",
            "fold": split.fold,
            "split": split.method,
            "split_seed": split.seed,
            "split_sha256": split.sha256(),
            "images": len(split.train),
            "recipe": run.environment().get("recipe", ""),
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            "representative": representative,
        },
        metrics={},
        parity={},
        tools=environment(),
        flatbuffer_sha256="",
        flatbuffer_bytes=0,
    )


# What the manifest keeps of an evaluation.
_KEPT = (
    "n",
    "confusion",
    "accuracy",
    "weighted_f1",
    "auc",
    "auc_hard_labels",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ece",
    "groups",
    "by_subject",
    "resampled",
    "intervals",
    "per_subject",
)


def _measure(folder: Path, file: Path, run: Run, data: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Float and int8 on the same cells: the split's test side, and every subject outside the fold."""
    split = run.split()
    resample: Resample = "cells" if split.method == "image" else "subjects"
    sets = {
        f"test side of fold {split.fold}, split by {split.method}": (cells_of(data, split.test), resample),
        "other subjects": (other_subjects(data, split.fold), "subjects"),
    }
    scorers = {"float": load_scorer(folder)[0], "int8": int8_scorer(file)}
    metrics: dict[str, Any] = {}
    parity: dict[str, Any] = {}
    for name, (cells, drawn) in sets.items():
        if not cells:
            continue
        scores = {kind: score_cells(scorer, data, cells) for kind, scorer in scorers.items()}
        results = {kind: figures_of(cells, score, drawn) for kind, score in scores.items()}
        metrics[name] = {kind: {key: result[key] for key in _KEPT} for kind, result in results.items()}
        if not parity:  # parity is judged on the test side
            agree = (scores["float"] >= 0.5) == (scores["int8"] >= 0.5)
            parity = {
                "n": len(cells),
                "agreement": float(agree.mean()),
                "drop_points": 100 * (results["float"]["accuracy"] - results["int8"]["accuracy"]),
                "largest_probability_change": float(np.abs(scores["float"] - scores["int8"]).max()),
                "flipped": [cell.path for cell, same in zip(cells, agree, strict=True) if not same],
            }
    return metrics, parity
