"""`leukoscope export`: a run → the one model file, with its parity report and card."""

import argparse
import logging
import math
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host.terminal import console
from edge.model.file import (
    InputFormat,
    Manifest,
    OutputFormat,
    make_interpreter,
    read_model,
    verify,
    write_model,
)
from edge.notice import NOTICE
from export.figures import evidence, report
from export.figures.card import C_NMC, card
from export.figures.parity import (
    CellSet,
    cell_sets,
    change,
    judged,
    metrics,
    parity,
    refusals,
    score,
    some,
    validation,
)
from export.figures.referral import Judged, fit, fit_shift
from export.int8.convert import plain_int8, representative_sample, to_int8
from export.int8.deploy import PixelInput, deploy_graph, shifted
from export.int8.layers import LayerError, layer_errors, summary, worst
from export.localise import localisation
from train.data import crops as crop_cache
from train.data.cnmc import is_official_name
from train.data.dataset import LABELS, Cell, Data, DataSet, cells_of, data_root
from train.data.split import SIDES, Split, evenly
from train.evaluate.evaluation import int8_scorer, patients_of, score_cells
from train.evaluate.report import make_folder
from train.fit.batches import balanced_crops
from train.fit.recipe import MOBILENET_M, ModelRecipe, Recipe
from train.fit.run import Run, environment
from train.fit.start import check_writable
from train.fit.training import load_side
from train.studies.drift import summary_of

log = logging.getLogger(__name__)

_LAYER_CELLS = 32
"""Cells that the errors of the layers are measured on; every one has thousands of positions."""


def export(options: argparse.Namespace) -> int:
    """Convert, compare with the float model, fit temperature and band, write the file; 1 if int8 loses too much."""
    _check(options)
    run = Run(options.run)
    recipe, split = run.recipe(), run.split()
    run.best_model()
    check_writable(options.out.parent)
    if recipe.model.network != MOBILENET_M:
        log.info("%s: TFLite's own conversion, without an activation map", recipe.model.network)
        options.plain = True
    known = evidence.read(options.evidence)
    data = run.data_set(options.data)
    if known.recipe is not None and known.recipe != recipe:
        log.warning("the cross-validation is of another recipe than this run; the card says so")
    folder = options.report or options.out.with_suffix(".report")
    make_folder(folder)

    shift = fit_shift(known.held_out) if known.held_out and not options.plain else 0.0
    flatbuffer, sample = _convert(options, run, recipe, data, shift)
    manifest = _manifest(run, recipe, data, flatbuffer, sample)
    sets = cell_sets(data, split, options.limit)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / options.out.name
        verify(write_model(file, flatbuffer, manifest, ""))
        scored = score(options.run, file, data, sets, shift)
        cells, calibration = _calibration(options, known, recipe, file, data, split)
        located = localisation(file, data, sets[0].cells, sets[0].name)
        seen = summary_of(file, data, some(cells_of(data, split.train), options.limit))
    errors = _layer_errors(run, recipe, manifest, flatbuffer, data, sets[0], shift)
    temperature, refer_below = calibration["temperature"], calibration["refer_below"]
    manifest = msgspec.structs.replace(
        manifest,
        temperature=temperature,
        refer_below=refer_below,
        calibration=calibration,
        localisation=located,
        drift=seen,
        metrics=metrics(scored, temperature, refer_below) | known.metrics,
        parity=parity(scored[0]) | {"layers": summary(errors)},
    )
    model = write_model(options.out, flatbuffer, manifest, card(manifest))
    read_model(options.out)
    report.write(folder, report.Report(model.manifest, scored, cells, errors))
    return _report(options, model.manifest, folder, errors, sets[0].cells)


def _check(options: argparse.Namespace) -> None:
    """Refuse limits out of range."""
    if not math.isfinite(options.max_drop):
        raise InputError(f"--max-drop {options.max_drop}: give a number of points, such as 0.5")
    if not 0 < options.refer_sensitivity <= 1:
        raise InputError(
            f"--refer-sensitivity {options.refer_sensitivity}: give a share from 0 to 1, such as 0.95"
        )
    if options.out.is_dir():
        raise InputError(f"--out {options.out}: this is a folder; give the name of a file in it")


def _report(
    options: argparse.Namespace, manifest: Manifest, folder: Path, errors: list[LayerError], cells: list[Cell]
) -> int:
    """Print the result; raised as an error if int8 is not as good as float."""
    reasons = refusals(manifest.parity, cells, options.max_drop)
    if options.json:
        console.document(_facts(options.out, manifest, folder, reasons))
    else:
        _summarise(options.out, manifest, folder)
    if options.limit:
        console.warn(f"--limit {options.limit}: judged on few cells, for a quick trial; not for a box")
    if reasons:
        where = f"; {worst(errors)}" if errors else ""
        raise LeukoscopeError(
            f"{options.out}: int8 {', and '.join(reasons)}{where}; try more --representative images, or "
            "train longer. The file is written for inspection only, not for a box"
        )
    return 0


def _facts(file: Path, manifest: Manifest, folder: Path, reasons: list[str]) -> dict[str, Any]:
    """What `export --json` prints; `refused` tells why the file is not for a box, empty if it is."""
    model = read_model(file)
    return {
        "file": str(file),
        "name": manifest.name,
        "sha256": model.sha256,
        "bytes": file.stat().st_size,
        "parity": manifest.parity,
        "temperature": manifest.temperature,
        "refer_below": manifest.refer_below,
        "report": str(folder / "report.html"),
        "refused": reasons,
    }


def _summarise(file: Path, manifest: Manifest, folder: Path) -> None:
    compared, found = manifest.parity, manifest.calibration
    console.summary(
        f"{file}: on the {compared['n']} cells of the {compared['cells']}, int8 agrees with float on "
        f"{compared['agreement']:.2%} and {change(compared['drop_points'])} points of accuracy"
        + ("" if compared["auc_drop_points"] is None else f", {change(compared['auc_drop_points'])} of AUC")
    )
    console.summary(
        f"log-odds of ALL {found.get('shift', 0.0):+g}, temperature {manifest.temperature:g}, refer below {manifest.refer_below:g}: "
        + (report.reached(found) if "cells" in found else found["why_not"])
    )
    console.summary(f"report: {folder / 'report.html'}; {NOTICE}")


def _convert(
    options: argparse.Namespace, run: Run, recipe: Recipe, data: DataSet, shift: float
) -> tuple[bytes, list[str]]:
    """The flatbuffer, and the paths of the crops that calibrated it."""
    cells, crops = load_side(data, run.split(), "train", recipe, run.environment().get("limit"))
    sample = representative_sample([(cell.label, cell.subject) for cell in cells], options.representative)
    log.info("converting, calibrated on %d of %d training crops", len(sample), len(cells))
    calibrating, model = balanced_crops(crops[sample], recipe.model), run.best_model()
    if options.plain:
        flatbuffer = plain_int8(model, calibrating, recipe.model)
    else:
        flatbuffer = to_int8(model, calibrating, recipe.model, with_map=not options.no_map, shift=shift)
    return flatbuffer, [cells[i].path for i in sample]


def _calibration(
    options: argparse.Namespace,
    known: evidence.Evidence,
    recipe: Recipe,
    file: Path,
    data: Data,
    split: Split,
) -> tuple[Judged | None, dict[str, Any]]:
    """The cells that temperature and band are fitted on, and the manifest's `calibration`.

    Those of the evidence if there are any: no patient among them trained. Else the validation
    side. Without either nothing can be fitted, and the file says so.
    """
    if known.held_out is not None:
        found = fit(
            known.held_out,
            options.refer_sensitivity,
            "models of the same recipe",
            with_shift=not options.plain,
        )
        if known.recipe is not None:
            found["same_recipe"] = known.recipe == recipe
        return known.held_out, found
    side = validation(data, split, options.limit)
    if side is not None:
        cells = judged(side, score_cells(int8_scorer(file), data, side.cells))
        return cells, fit(cells, options.refer_sensitivity, "this file")
    why_not = (
        "No cells were left that had not trained the model, so its probabilities are those of the network and no cell "
        "is referred for low confidence. Give the folder of a cross-validation with --evidence."
    )
    return None, {"temperature": 1.0, "refer_below": 0.0, "why_not": why_not}


def _layer_errors(
    run: Run, recipe: Recipe, manifest: Manifest, flatbuffer: bytes, data: Data, judged: CellSet, shift: float
) -> list[LayerError]:
    if recipe.model.network != MOBILENET_M:
        return []
    some = judged.cells[:: max(1, len(judged.cells) // _LAYER_CELLS)][:_LAYER_CELLS]
    crops = balanced_crops(crop_cache.load(data_root(data), some, recipe.model.geometry), recipe.model)
    graph = shifted(deploy_graph(run.best_model(), recipe.model), shift)
    return layer_errors(graph, flatbuffer, manifest.input, crops)


def _manifest(
    run: Run, recipe: Recipe, data: DataSet, flatbuffer: bytes, representative: list[str]
) -> Manifest:
    return Manifest(
        name=_model_name(recipe.model),
        labels=run.classes().names(),
        positive=run.classes().positive,
        geometry=recipe.model.geometry,
        input=_input_format(recipe, flatbuffer),
        outputs=_output_formats(flatbuffer),
        training=_training(run, recipe, data) | {"representative": representative},
        tools=environment(),
    )


def _model_name(recipe: ModelRecipe) -> str:
    """The network with its width, size and number of members."""
    if recipe.network != MOBILENET_M:
        return f"{recipe.network}_{recipe.size}"
    width = f"{recipe.alpha:g}".replace(".", "_") if recipe.alpha != 1 else "1_0"
    members = f"_x{recipe.members}" if recipe.members > 1 else ""
    return f"mobilenet_m_{width}_{recipe.size}{members}"


def _input_format(recipe: Recipe, flatbuffer: bytes) -> InputFormat:
    scale, zero_point = make_interpreter(flatbuffer).get_input_details()[0]["quantization"]
    pixels = PixelInput.of(recipe.model)
    low, high = pixels.low, pixels.high
    if zero_point != pixels.zero_point:  # of the plain converter, whose tensor is the network's own input
        low, high = recipe.model.input_low, recipe.model.input_high
    return InputFormat("int8", float(scale), int(zero_point), "RGB", low, high, recipe.model.cell_mean)


def _output_formats(flatbuffer: bytes) -> list[OutputFormat]:
    """The outputs by their shapes: converters keep neither names nor order. The probabilities come first."""
    formats = []
    for index, tensor in enumerate(make_interpreter(flatbuffer).get_output_details()):
        shape = [int(side) for side in tensor["shape"]]
        name, activation = "probabilities", "softmax"
        if len(shape) == 4:
            name, activation = "activation_map", "linear"
        elif shape[1] != len(LABELS):
            name, activation = "features", "linear"
        scale, zero_point = tensor["quantization"]
        kind = tensor["dtype"].__name__
        formats.append(OutputFormat(name, index, shape, kind, float(scale), int(zero_point), activation))
    return sorted(formats, key=lambda output: output.name != "probabilities")


def _training(run: Run, recipe: Recipe, data: DataSet) -> dict[str, Any]:
    """The images that trained the run: with `train --limit` fewer than the split lists."""
    progress, split, environment_then = run.progress(), run.split(), run.environment()
    limit = environment_then.get("limit")
    images = {side: len(evenly(len(split.side(side)), limit)) for side in SIDES}
    return {
        "data": C_NMC if "C-NMC" in data.layout or _official_names(data) else "own data",
        "layout": data.layout,
        "fold": split.fold,
        "split": split.method,
        "split_seed": split.seed,
        "split_sha256": split.sha256(),
        "images": images["train"],
        "validation_images": images["val"],
        "images_of_the_split": len(split.train),
        "limit": limit,
        "patients": sorted(patients_of(run) or []) or None,
        "recipe": _recipe_name(environment_then.get("recipe", "")),
        "weights": Path(str(environment_then.get("weights", ""))).name,
        "epochs": progress.epoch if progress else 0,
        "best_epoch": progress.best_epoch if progress else 0,
        "chosen_by": _chosen_by(recipe),
        "members": recipe.model.members,
        "network": recipe.model.network,
    }


def _official_names(data: DataSet) -> bool:
    return all(is_official_name(cell.path) for cell in data.cells)


def _recipe_name(text: str) -> str:
    """A recipe without the folder of its file; the changes after it stay as they are."""
    name, separator, changes = text.partition(" --set ")
    return Path(name).name + separator + changes


def _chosen_by(recipe: Recipe) -> str:
    if recipe.model.members > 1:
        return "members"
    if recipe.fit.epochs == 0:
        return "regression"
    return "validation loss" if recipe.fit.schedule == "plateau" else "last epoch"
