"""`leukoscope train --task cells|kind`: trains, exports and evaluates a network for whole fields."""

import argparse
import json
import logging
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.errors import InputError
from edge.host.durable import replace_file
from edge.host.terminal import console
from edge.imaging.field.lamp import find_lamp
from edge.imaging.field.ruler import MODEL_RED_CELL_PX
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.file import make_interpreter
from edge.model.finder import CellFinder
from edge.model.network import (
    Network,
    NetworkManifest,
    Quantised,
    Task,
    read_network,
    shipped_network,
    write_network,
)
from edge.notice import NOTICE
from train.fields import kind_cells
from train.fields.compose import Composer, Cut
from train.fields.folders import Folders
from train.fields.labelled import WORK_RED_PX, Field, load, side_of

log = logging.getLogger(__name__)

STEPS_AN_EPOCH = 100
EPOCHS: dict[Task, int] = {"cells": 24, "kind": 25}
CALIBRATION_PICTURES = 200
CNMC_CUTS = 500
CNMC_KIND_CELLS = 1500
TYPED_RED_PX = 79.0
"""Width of red cells in the pictures of typed cells, which have no boxes: that of `pbc`, the same laboratory."""

KEPT_SHARE, THRESHOLD_ROUNDS = 0.98, 10
"""The threshold of "other" keeps this share of the lymphoid cells of each set that trained, each altered so often."""

CELL_PLANES = [
    "mask upper left",
    "mask upper right",
    "mask lower left",
    "mask lower right",
    "centre",
    "width",
    "height",
    "red cells",
]


def train(options: argparse.Namespace) -> int:
    """Train the network of `options.task` on the folders of `options.data`; `options.out` gets its file."""
    given = options.data if isinstance(options.data, list) else [options.data]
    folders = Folders.below(given)
    steps = STEPS_AN_EPOCH * (options.epochs or EPOCHS[options.task])
    options.out.mkdir(parents=True, exist_ok=True)
    if options.task == "cells":
        file = _train_cells(folders, steps, options)
    else:
        file = _train_kind(folders, steps, options)
    size = file.stat().st_size
    metrics = read_network(file, options.task).manifest.metrics
    words = f"{file}: {size // 1000} kB; copy it to models/field/ to ship it"
    console.result(options.json, {"file": str(file), "bytes": size, "metrics": metrics}, words)
    return 0


def _train_cells(folders: Folders, steps: int, options: argparse.Namespace) -> Path:
    from train.fields.export import to_int8
    from train.fields.finder import finder
    from train.fields.fit_finder import train as fit
    from train.fields.judge import by_network, dice, found_in

    listed = folders.listed()
    training = side_of(listed, "train")[: options.limit]
    log.info("%d fields train; their cells are outlined", len(training))
    fields = [*load(training), *_platelets(folders.typed)]
    cuts = _cnmc_cuts(folders.cells)
    model = fit(fields, cuts, steps, options.seed, options.out / "cells.weights.h5")
    model.save_weights(options.out / "cells.weights.h5")
    fixed = finder(160)
    fixed.set_weights(model.get_weights())
    composer = Composer(fields, cuts, options.seed + 1)
    flatbuffer = to_int8(fixed, np.stack([composer.compose().picture for _ in range(CALIBRATION_PICTURES)]))
    file: Path = options.out / "cells.tflite"
    _write(file, flatbuffer, "cells", CELL_PLANES, {}, {"fields": len(training), "steps": steps}, {})
    made = CellFinder(read_network(file, "cells"))
    counts, _ = found_in(side_of(listed, "validation")[: options.limit], by_network(made))
    metrics: dict[str, Any] = {name: count.summary() for name, count in counts.items()}
    if folders.masks is not None:
        metrics["masks"] = {"dice_mean": round(float(np.mean(dice(folders.masks, made))), 4)}
    _write(file, flatbuffer, "cells", CELL_PLANES, {}, {"fields": len(training), "steps": steps}, metrics)
    return file


def _train_kind(folders: Folders, steps: int, options: argparse.Namespace) -> Path:
    from train.fields import kind
    from train.fields.export import to_int8
    from train.fields.judge_kind import summary

    if folders.typed is None:
        raise InputError("--task kind: no folder of typed cells (lymphocyte, neutrophil, …) below --data")
    finder = CellFinder(read_network(shipped_network("cells"), "cells"))
    listed = folders.listed()
    random = np.random.default_rng(options.seed)
    training = cells_of_kind(folders, finder, options.seed)
    kept = kind_cells.of_typed(folders.typed, finder, "validation")
    kept += kind_cells.of_fields(side_of(listed, "validation"), finder, "raabin")
    log.info("%d cells train, %d validate", len(training), len(kept))
    model = kind.train(training, steps, options.seed)
    model.save_weights(options.out / "kind.weights.h5")
    chosen = [training[int(n)] for n in random.integers(0, len(training), CALIBRATION_PICTURES)]
    fixed = kind.fixed_size(model)
    flatbuffer = to_int8(fixed, np.stack([kind.altered(cell, random) for cell in chosen]))
    file: Path = options.out / "kind.tflite"
    facts = {"cells": len(training), "steps": steps}
    _write(file, flatbuffer, "kind", ["other"], {"lymphoid_below": 0.0, "other_above": 0.0}, facts, {})
    network = Network(read_network(file, "kind"))
    lymphoid = [c for c in training if c.label == kind_cells.LYMPHOID and c.set != "cnmc"] * THRESHOLD_ROUNDS
    logits = kind.scores(network.run, (kind.altered(cell, random) for cell in lymphoid))
    thresholds = kind.thresholds(logits, lymphoid, KEPT_SHARE)
    _write(file, flatbuffer, "kind", ["other"], thresholds, facts, {})
    from edge.model.fields import KindGate

    metrics = summary(KindGate(Network(read_network(file, "kind"))), kept)
    _write(file, flatbuffer, "kind", ["other"], thresholds, facts, metrics)
    return file


def cells_of_kind(folders: Folders, finder: CellFinder, seed: int) -> list[kind_cells.KindCell]:
    """What the gate learns from, cut out by the finder."""
    assert folders.typed is not None
    random = np.random.default_rng(seed)
    listed = folders.listed()
    train = side_of(listed, "train")
    cells = kind_cells.of_typed(folders.typed, finder, "train", random)
    cells += kind_cells.of_fields(train, finder, "raabin", random)
    cells += kind_cells.of_fields(listed, finder, "pbc", random)
    cells += kind_cells.of_nothing(train[::4], finder, seed)
    files = kind_cells.training_patients(_cnmc_files(folders.cells, CNMC_KIND_CELLS))
    cells += kind_cells.of_cnmc(files)
    cells += kind_cells.of_pasted(files, train, finder, MODEL_RED_CELL_PX, seed)
    return cells


def _platelets(typed: Path | None) -> list[Field]:
    """Fields of platelets and red cells without any white cell; the last fifth does not train."""
    if typed is None or not (typed / "platelet").is_dir():
        return []
    files = sorted((typed / "platelet").glob("*.jpg"))
    fields = []
    for file in files[: round(len(files) * 0.8)]:
        picture = read_image(file)
        neutral = find_lamp(picture).neutral(picture)
        small = _scaled(neutral, WORK_RED_PX / TYPED_RED_PX)
        fields.append(Field(small, np.zeros(small.shape[:2], np.int16), WORK_RED_PX, "platelets"))
    return fields


def _cnmc_cuts(folder: Path | None) -> list[Cut]:
    """Cells of C-NMC to paste, at the scale of the fields in memory."""
    cuts = []
    for file in _cnmc_files(folder, CNMC_CUTS):
        picture = read_image(file)
        mask = (picture.max(axis=2) > 0).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        part = np.s_[top : top + height, left : left + width]
        factor = WORK_RED_PX / MODEL_RED_CELL_PX
        cuts.append(Cut(_scaled(picture[part], factor), _scaled(mask[part], factor), WORK_RED_PX, "cnmc"))
    return cuts


def _cnmc_files(folder: Path | None, count: int) -> list[Path]:
    """So many cells, evenly over all of them in name order."""
    files = sorted((folder / "training_data").rglob("*.png")) if folder is not None else []
    return files[:: max(1, len(files) // count)][:count]


def _scaled(picture: Pixels, factor: float) -> Pixels:
    size = (max(2, round(picture.shape[1] * factor)), max(2, round(picture.shape[0] * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _write(
    file: Path,
    flatbuffer: bytes,
    task: Task,
    labels: list[str],
    thresholds: dict[str, float],
    training: dict[str, Any],
    metrics: dict[str, Any],
) -> None:
    interpreter = make_interpreter(flatbuffer)
    entry, out = (
        Quantised(*details[0]["quantization"])
        for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    manifest = NetworkManifest(
        name=f"leukoscope_{task}",
        task=task,
        labels=labels,
        input=entry,
        output=out,
        thresholds=thresholds,
        training=training,
        metrics=metrics,
        tools={"tensorflow": version("tensorflow"), "python": platform.python_version()},
    )
    write_network(file, flatbuffer, manifest, "\n".join(_card(manifest)) + "\n")
    if metrics:
        replace_file(file.with_suffix(".json"), json.dumps(metrics, indent=1).encode() + b"\n")


def _card(manifest: NetworkManifest) -> Iterable[str]:
    does = {
        "cells": "finds the white cells of a whole field, outlines them and tells the width of its red cells",
        "kind": "tells lymphoid cells from other white cells, before the classifier is asked",
    }[manifest.task]
    yield f"# {manifest.name}"
    yield f"An int8 network that {does}. {NOTICE.capitalize()}."
    yield ""
    yield "Trained on real and composed fields: phone (CC0 1.0), Raabin-WBC and PBC (in TXL-PBC, MIT; CC BY 4.0),"
    yield "Complete Blood Cell Count Dataset (MIT), C-NMC 2019 (CC BY 3.0). The last fifth of each set, in name order,"
    yield "did not train; the figures are of it."
    yield ""
    for name, value in manifest.metrics.items():
        yield f"- {name}: {json.dumps(value)}"
