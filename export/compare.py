"""`leukoscope compare`: runs side by side on the same cells, with what each costs as the int8 file of a box."""

import argparse
import logging
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench.machine import machine
from edge.errors import InputError, LeukoscopeError
from edge.host.terminal import console
from edge.model.file import make_interpreter
from edge.notice import NOTICE
from export.int8.convert import int8
from export.int8.flatbuffer import multiply_adds
from export.latency import timed
from train.commands import noise_levels
from train.compare import page
from train.compare.cells import SharedCells, shared_cells
from train.compare.comparison import Comparison
from train.compare.figures import Contestant, contestant, differences, with_suites
from train.compare.lead import lead
from train.compare.text import text
from train.data import crops as crop_cache
from train.data import dataset as datasets
from train.evaluate.evaluation import how_made
from train.evaluate.report import make_folder
from train.fit.run import Run

log = logging.getLogger(__name__)

LATENCY_RUNS = 50

COSTS = ("parameters", "multiply_adds", "int8_bytes", "latency_ms", "latency_p10_ms", "refused")
"""What a network costs; None if its int8 form could not be made or is too large for a box, `refused` says why."""

CALIBRATING_CELLS = 16
"""Size, multiply-adds and latency do not depend on which cells calibrate int8; `export` takes 256."""


def compare(options: argparse.Namespace) -> int:
    """Judge every run on the same cells, compare, write."""
    runs = [Run(folder) for folder in options.runs]
    for run in runs:
        run.recipe()
    names = _names(options.runs)
    data = datasets.load(options.data, options.positive, runs[0].classes())
    cells = shared_cells(runs, data, options.limit)
    if options.out:
        make_folder(options.out)
    levels = noise_levels(options.noise)
    contestants = []
    for run, name in zip(runs, names, strict=True):
        log.info(
            "%s: judging %d test cells and %d of new patients", name, len(cells.test), len(cells.new_patients)
        )
        contestants.append(contestant(run, name, data, cells, levels))
    log.info("the camera suite of all")
    contestants = with_suites(contestants, data, cells)
    contestants = _costs(contestants, runs, data, cells)
    made = Comparison(
        contestants=contestants,
        differences=differences(contestants, cells),
        lead=lead(contestants, cells),
        fold=_fold(runs) if cells.same_patients else None,
        same_patients=cells.same_patients,
        machine=machine(),
        notes=cells.notes,
        facts=_facts(options, contestants, cells),
        classes=data.classes,
    )
    if options.out:
        page.write(options.out, made)
        log.info(
            "%s: compare.html, compare.json, confusion.png, bars.png, noise.png, cameras.png", options.out
        )
    console.figures(options.json, made.json(), lambda: text(contestants, made.differences, made.sentence()))
    for note in made.notes:
        console.warn(note)
    console.note(NOTICE)
    return 0


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, with the one above where two are alike."""
    often = Counter(folder.resolve().name for folder in folders)
    names = [
        f.resolve().name if often[f.resolve().name] == 1 else "/".join(f.resolve().parts[-2:])
        for f in folders
    ]
    if len(set(names)) < len(names):
        raise InputError("two of the runs are the same folder; give each once")
    return names


def _fold(runs: Sequence[Run]) -> int | None:
    """The official fold that all runs split by image; None if there is none."""
    splits = {(run.split().fold, run.split().method) for run in runs}
    fold, method = splits.pop()
    return fold if not splits and method == "image" and fold in (0, 1, 2) else None


def _costs(
    contestants: Sequence[Contestant], runs: Sequence[Run], data: datasets.DataSet, cells: SharedCells
) -> list[Contestant]:
    """Each with its parameters, and multiply-adds, bytes and latency of the int8 network, all timed in turn."""
    costs: list[dict[str, Any]] = []
    interpreters: dict[int, Any] = {}
    for number, run in enumerate(runs):
        model, recipe = run.best_model(), run.recipe().model
        crops = np.asarray(crop_cache.load(data.root, cells.test[:CALIBRATING_CELLS], recipe.geometry))
        log.info("%s: converting to int8", contestants[number].name)
        costs.append(dict.fromkeys(COSTS) | {"parameters": int(model.count_params()), "refused": ""})
        try:
            flatbuffer = int8(model, crops, recipe)
            costs[-1] |= {"multiply_adds": multiply_adds(flatbuffer), "int8_bytes": len(flatbuffer)}
            interpreters[number] = make_interpreter(flatbuffer)
        except LeukoscopeError as error:
            costs[-1]["refused"] = str(error)
    durations = timed(list(interpreters.values()), LATENCY_RUNS)
    for number, milliseconds in zip(interpreters, durations, strict=True):
        p10, p50 = np.percentile(milliseconds, (10, 50))
        costs[number] |= {"latency_ms": float(p50), "latency_p10_ms": float(p10)}
    return [replace(each, cost=cost) for each, cost in zip(contestants, costs, strict=True)]


def _facts(
    options: argparse.Namespace, contestants: Sequence[Contestant], cells: SharedCells
) -> dict[str, str]:
    command = ["leukoscope", *sys.argv[1:]]
    return {
        "Cells": f"{len(cells.test)} test cells that no run was trained on, {len(cells.new_patients)} of new patients",
        "Data": shlex.join(map(str, options.data)),
        **{f"Training of {c.name}": c.facts["command"] for c in contestants},
        **how_made(command),
    }
