"""`leukoscope export`: a run → the one model file, with its parity report and card."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import InputError, LeukoscopeError
from edge.modelfile import (
    InputFormat,
    Manifest,
    OutputFormat,
    make_interpreter,
    read_model,
    verify,
    write_model,
)
from export.card import CROSS_VALIDATION, card
from export.convert import plain_int8, representative_sample, to_int8
from export.deploy import PixelInput, deploy_graph
from export.layers import LayerError, layer_errors, summary, worst
from export.parity import CellSet, cell_sets, measure
from train import crops as crop_cache
from train.dataset import LABELS, data_root
from train.fit import Run, environment, load_side
from train.recipe import Recipe

log = logging.getLogger(__name__)

_LAYER_CELLS = 32
"""Cells that the errors of the layers are measured on; every one has thousands of positions."""


def export(options: argparse.Namespace) -> int:
    """Convert, compare with the float model, write; 1 where int8 loses too much."""
    run = Run(options.run)
    recipe, split = run.recipe(), run.split()
    data = options.data or Path(run.environment().get("data", ""))
    if not data.is_dir():
        raise InputError(f"data set {data}: no such folder; give it with --data")
    evidence = read_evidence(options.evidence) if options.evidence else None
    cells, crops = load_side(data, split, "train", recipe)
    sample = representative_sample([(cell.label, cell.subject) for cell in cells], options.representative)
    log.info("converting, calibrated on %d of %d training crops", len(sample), len(cells))
    convert = plain_int8 if options.plain else to_int8
    flatbuffer = convert(run.best_model(), np.asarray(crops[sample]), recipe.model)

    manifest = _manifest(run, recipe, flatbuffer, [cells[i].path for i in sample])
    verify(write_model(options.out, flatbuffer, manifest, ""))
    sets = cell_sets(data, split)
    metrics, parity = measure(options.run, options.out, data, sets)
    errors = _layer_errors(run, recipe, manifest, flatbuffer, data, sets[0])
    manifest.metrics.update(metrics | ({CROSS_VALIDATION: evidence} if evidence else {}))
    manifest.parity.update(parity | {"layers": summary(errors)})
    write_model(options.out, flatbuffer, manifest, card(manifest))
    read_model(options.out)
    print(
        f"{options.out}: on the {parity['n']} cells of the {parity['cells']}, int8 agrees with float on "
        f"{parity['agreement']:.2%} and loses {parity['drop_points']:.2f} points"
    )
    if parity["drop_points"] > options.max_drop:
        raise LeukoscopeError(
            f"{options.out}: int8 loses {parity['drop_points']:.2f} points of accuracy, more than "
            f"--max-drop {options.max_drop}; {worst(errors)}; try more --representative images"
        )
    return 0


def read_evidence(file: Path) -> dict[str, Any]:
    """What is known of a model from elsewhere.

    Args:
        file: metrics.json of `evaluate --cross-validate`, or a JSON object of one's own: its "text" in
            words, its numbers as they are.

    Raises:
        InputError: there is no such file, or it is neither.
    """
    try:
        evidence = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--evidence {file}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"--evidence {file}: {error}; give a JSON object") from error
    rows = evidence if isinstance(evidence, list) and evidence else [None]
    if all(isinstance(row, dict) and row.get("resampled") == "subjects" for row in rows):
        return _of_cross_validation(evidence)
    if not isinstance(evidence, dict) or not evidence:
        raise InputError(f"--evidence {file}: not a JSON object with figures")
    return evidence


def _of_cross_validation(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures that count of the rows of a cross-validation: each patient weighing the same."""
    shown = []
    for row in rows:
        figures, patients = row["by_subject"], row["groups"]
        values = []
        for name in ("auc", "sensitivity", "specificity"):
            low, high = figures["intervals"][name]
            values.append(
                f"{name.upper() if name == 'auc' else name} {figures[name]:.2f} ({low:.2f}–{high:.2f})"
            )
        shown.append(f"- noise of sigma {row['sigma']:g}: {', '.join(values)}")
    text = (
        f"On patients that trained nothing ({patients['ALL']} with ALL, {patients['HEM']} healthy; {rows[0]['n']} "
        "cells), each patient\nweighing the same within its class, 95 % intervals over patients; float models, a score "
        "of 0.5 and above\ncalled ALL:\n\n"
    )
    return {
        "text": text + "\n".join(shown),
        "rows": [row["by_subject"] | {"sigma": row["sigma"]} for row in rows],
    }


def _layer_errors(
    run: Run, recipe: Recipe, manifest: Manifest, flatbuffer: bytes, data: Path, judged: CellSet
) -> list[LayerError]:
    some = judged.cells[:: max(1, len(judged.cells) // _LAYER_CELLS)][:_LAYER_CELLS]
    crops = np.asarray(crop_cache.load(data_root(data), some, recipe.model.geometry))
    graph = deploy_graph(run.best_model(), recipe.model)
    return layer_errors(graph, flatbuffer, manifest.input, crops)


def _manifest(run: Run, recipe: Recipe, flatbuffer: bytes, representative: list[str]) -> Manifest:
    size = f"{recipe.model.alpha:g}".replace(".", "_") if recipe.model.alpha != 1 else "1_0"
    return Manifest(
        name=f"mobilenet_m_{size}_{recipe.model.size}",
        labels=list(LABELS),
        geometry=recipe.model.geometry,
        input=_input_format(recipe, flatbuffer),
        outputs=_output_formats(flatbuffer),
        training=_training(run, recipe) | {"representative": representative},
        tools=environment(),
    )


def _input_format(recipe: Recipe, flatbuffer: bytes) -> InputFormat:
    scale, zero_point = make_interpreter(flatbuffer).get_input_details()[0]["quantization"]
    pixels = PixelInput.of(recipe.model)
    low, high = pixels.low, pixels.high
    if zero_point != pixels.zero_point:  # of the plain converter, whose tensor is the network's own input
        low, high = recipe.model.input_low, recipe.model.input_high
    return InputFormat("int8", float(scale), int(zero_point), "RGB", low, high)


def _output_formats(flatbuffer: bytes) -> list[OutputFormat]:
    """The outputs by their shapes: converters keep neither names nor order. The probabilities come first."""
    formats = []
    for index, tensor in enumerate(make_interpreter(flatbuffer).get_output_details()):
        shape = [int(side) for side in tensor["shape"]]
        name, activation = ("activation_map", "linear") if len(shape) == 4 else ("probabilities", "softmax")
        scale, zero_point = tensor["quantization"]
        kind = tensor["dtype"].__name__
        formats.append(OutputFormat(name, index, shape, kind, float(scale), int(zero_point), activation))
    return sorted(formats, key=lambda output: output.name != "probabilities")


def _training(run: Run, recipe: Recipe) -> dict[str, Any]:
    progress, split, environment_then = run.progress(), run.split(), run.environment()
    return {
        "data": "C-NMC 2019",
        "fold": split.fold,
        "split": split.method,
        "split_seed": split.seed,
        "split_sha256": split.sha256(),
        "images": len(split.train),
        "validation_images": len(split.val),
        "recipe": Path(environment_then.get("recipe", "")).name,
        "weights": Path(str(environment_then.get("weights", ""))).name,
        "epochs": progress.epoch if progress else 0,
        "best_epoch": progress.best_epoch if progress else 0,
        "chosen_by": _chosen_by(recipe),
    }


def _chosen_by(recipe: Recipe) -> str:
    if recipe.fit.epochs == 0:
        return "regression"
    return "validation loss" if recipe.fit.schedule == "plateau" else "last epoch"
