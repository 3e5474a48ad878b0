"""Training: one epoch after the other, each ending in a checkpoint that a killed run goes on from."""

import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

from edge.errors import InputError, LeukoscopeError
from edge.frame import Pixels
from train import crops as crop_cache
from train.batches import PlainBatches, TrainingBatches
from train.dataset import Cell, data_root, scan
from train.model import mobilenet_m
from train.recipe import FitRecipe, Recipe
from train.split import Side, Split
from train.split import read as read_split
from train.split import write as write_split

log = logging.getLogger(__name__)


class Progress(msgspec.Struct, kw_only=True):
    """Where a training stands after an epoch; everything that the rules of the next epoch need.

    Attributes:
        epoch: number of epochs done.
        learning_rate: of the next epoch.
        best_epoch, best_val_loss: of the weights in `best.keras`.
        learning_rate_wait: epochs since the loss or the rate last got better or smaller.
        stopped: why the training is over, or "".
        history: one row an epoch.
    """

    epoch: int = 0
    learning_rate: float
    best_epoch: int = 0
    best_val_loss: float = float("inf")
    learning_rate_wait: int = 0
    stopped: str = ""
    history: list[dict[str, float]] = []

    def advance(self, row: dict[str, float], fit: FitRecipe) -> bool:
        """Take in the figures of one epoch; True where they are the best so far."""
        self.epoch += 1
        self.history.append(row)
        better = row["val_loss"] < self.best_val_loss
        if better:
            self.best_epoch, self.best_val_loss, self.learning_rate_wait = self.epoch, row["val_loss"], 0
        else:
            self.learning_rate_wait += 1
            if self.learning_rate_wait >= fit.learning_rate_patience:
                lower = self.learning_rate * fit.learning_rate_factor
                self.learning_rate = max(lower, fit.learning_rate_floor)
                self.learning_rate_wait = 0
        if self.epoch - self.best_epoch >= fit.stop_patience:
            self.stopped = f"no better validation loss for {fit.stop_patience} epochs"
        elif self.epoch >= fit.epochs:
            self.stopped = f"{fit.epochs} epochs done"
        return better


class Run:
    """A run folder: recipe.json, split.json, environment.json, progress.json, best.keras, checkpoints."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, split: Split, settings: dict[str, Any]) -> "Run":
        """Make a new run folder.

        Raises:
            InputError: the folder holds a run already.
            LeukoscopeError: it cannot be written.
        """
        if (folder / "recipe.json").exists():
            raise InputError(
                f"{folder}: holds a run already; add --resume to go on with it, or give another --out"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "recipe.json").write_bytes(msgspec.json.format(msgspec.json.encode(recipe), indent=2))
            write_split(split, folder / "split.json")
            (folder / "environment.json").write_text(json.dumps(environment() | settings, indent=2))
        except OSError as error:
            raise LeukoscopeError(f"{folder}: {error.strerror}; give a folder that can be written") from error
        return cls(folder)

    def recipe(self) -> Recipe:
        """The resolved recipe of this run.

        Raises:
            InputError: the folder is not a run.
        """
        file = self.folder / "recipe.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Recipe)
        except (OSError, msgspec.MsgspecError) as error:
            raise InputError(f"{file}: {error}; give the folder of a `leukoscope train` run") from error

    def split(self) -> Split:
        """Who trained, chose and judged."""
        return read_split(self.folder / "split.json")

    def environment(self) -> dict[str, Any]:
        """Versions, machine and command of this run."""
        loaded: dict[str, Any] = json.loads((self.folder / "environment.json").read_text())
        return loaded

    def progress(self) -> Progress | None:
        """Where the run stands, or None before its first epoch's end."""
        file = self.folder / "progress.json"
        return msgspec.json.decode(file.read_bytes(), type=Progress) if file.exists() else None

    def best_model(self) -> keras.Model:
        """The model of the epoch with the best validation loss.

        Raises:
            InputError: no epoch has ended yet.
        """
        file = self.folder / "best.keras"
        if not file.is_file():
            raise InputError(f"{file}: missing; the run has not ended an epoch yet")
        return keras.models.load_model(file, compile=False)

    def save(self, model: keras.Model, progress: Progress, better: bool) -> None:
        """Keep one epoch's end so that a kill at any instant leaves this epoch or the one before it."""
        checkpoint = self.folder / f"checkpoint-{progress.epoch}.keras"
        _save_model(model, checkpoint)
        if better:
            _save_model(model, self.folder / "best.keras")
        partial = self.folder / "progress.json.partial"
        partial.write_bytes(msgspec.json.encode(progress))
        partial.replace(self.folder / "progress.json")
        for old in self.folder.glob("checkpoint-*.keras"):
            if old != checkpoint:
                old.unlink()


def _save_model(model: keras.Model, file: Path) -> None:
    partial = file.with_suffix(".partial.keras")
    model.save(partial)
    partial.replace(file)


def environment() -> dict[str, Any]:
    """Versions and machine, as kept in a run folder and in a manifest."""
    packages = ("leukoscope", "keras", "tensorflow", "numpy", "opencv-python-headless")
    return {
        "packages": {name: version(name) for name in packages},
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def load_side(data: Path, split: Split, side: Side, recipe: Recipe) -> tuple[list[Cell], Pixels]:
    """The cells of one side of a split and their crops, from the cache where they are there."""
    by_path = {cell.path: cell for cell in scan(data)}
    missing = [path for path in split.side(side) if path not in by_path]
    if missing:
        raise InputError(f"{data}: {len(missing)} images of the split are not there, the first {missing[0]}")
    cells = [by_path[path] for path in split.side(side)]
    return cells, crop_cache.load(data_root(data), cells, recipe.model.geometry)


def train(run: Run, data: Path, *, weights: str, limit: int | None = None) -> Progress:
    """Train a run to its end, from its last checkpoint where there is one.

    Args:
        run: a run folder made by `Run.create`.
        data: the data set's folder.
        weights: see `train.model.mobilenet_m`; only for a run's first epoch.
        limit: at most this many images on each side, for a quick try.
    """
    recipe, split = run.recipe(), run.split()
    sides = {side: _limited(*load_side(data, split, side, recipe), limit) for side in ("train", "val")}
    progress = run.progress()
    if progress is None:
        keras.utils.set_random_seed(recipe.fit.seed)
        model = mobilenet_m(recipe.model, weights)
        optimizer = keras.optimizers.Adam(recipe.fit.learning_rate)
        model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
        progress = Progress(learning_rate=recipe.fit.learning_rate)
    else:
        model = keras.models.load_model(run.folder / f"checkpoint-{progress.epoch}.keras")
    cells, crops = sides["val"]
    validation = PlainBatches(crops, cells, recipe.model)
    while not progress.stopped:
        model.optimizer.learning_rate = progress.learning_rate
        batches = TrainingBatches(sides["train"][1], sides["train"][0], recipe, progress.epoch)
        row = _one_epoch(model, batches, validation)
        row["learning_rate"] = progress.learning_rate
        better = progress.advance(row, recipe.fit)
        try:
            run.save(model, progress, better)
        except OSError as error:
            raise LeukoscopeError(f"{run.folder}: {error}; make room, then go on with --resume") from error
        log.info("epoch %d: %s%s", progress.epoch, _figures(row), " (best)" if better else "")
    return progress


def _one_epoch(model: keras.Model, batches: TrainingBatches, validation: PlainBatches) -> dict[str, float]:
    started = time.monotonic()
    history = model.fit(batches, validation_data=validation, epochs=1, shuffle=False, verbose=2).history
    row = {name: float(values[-1]) for name, values in history.items()}
    if not np.isfinite(row["loss"]):
        raise LeukoscopeError("the loss is not a number any more; lower fit.learning_rate and train anew")
    row["seconds"] = round(time.monotonic() - started, 1)
    return row


def _figures(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items())


def _limited(cells: list[Cell], crops: Pixels, limit: int | None) -> tuple[Sequence[Cell], Pixels]:
    """Every so many-th cell, so that both classes and most subjects stay in."""
    if limit is None or limit >= len(cells):
        return cells, crops
    keep = np.linspace(0, len(cells) - 1, limit).round().astype(int)
    return [cells[i] for i in keep], crops[keep]
