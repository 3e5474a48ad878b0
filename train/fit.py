"""Training: one epoch after the other, each ending in a checkpoint that a killed run goes on from."""

import contextlib
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

from edge.errors import InputError, LeukoscopeError
from edge.frame import Pixels
from train import crops as crop_cache
from train.batches import Floats, PlainBatches, TrainingBatches
from train.dataset import Cell, data_root, scan
from train.distil import taught_targets
from train.model import mobilenet_m
from train.optimizer import build
from train.plots import training_curves
from train.probe import set_head
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
        best_epoch, best_val_loss: of the weights in `best.keras`; no loss where there is no validation.
        learning_rate_wait: epochs since the loss or the rate last got better or smaller.
        stopped: why the training is over, or "".
        history: one row an epoch.
    """

    epoch: int = 0
    learning_rate: float
    best_epoch: int = 0
    best_val_loss: float | None = None
    learning_rate_wait: int = 0
    stopped: str = ""
    history: list[dict[str, float]] = []

    def advance(self, row: dict[str, float], fit: FitRecipe) -> bool:
        """Take in the figures of one epoch; True where they are the best so far."""
        self.epoch += 1
        self.history.append(row)
        if fit.schedule == "cosine":
            # The last epoch is the one that the schedule was made for; nothing is chosen by validation.
            self.best_epoch, self.best_val_loss = self.epoch, row.get("val_loss")
            self.stopped = f"{fit.epochs} epochs done" if self.epoch >= fit.epochs else ""
            return True
        better = self.best_val_loss is None or row["val_loss"] < self.best_val_loss
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

    def seconds_left(self, fit: FitRecipe) -> float:
        """How long the epochs that are left take at the pace of the last one, stopping not foreseen."""
        until = fit.epochs
        if fit.schedule == "plateau":
            until = min(until, self.best_epoch + fit.stop_patience)
        return (until - self.epoch) * self.history[-1]["seconds"]


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
            _save_model(model, self.folder / "best.keras", include_optimizer=False)
        partial = self.folder / "progress.json.partial"
        partial.write_bytes(msgspec.json.encode(progress))
        partial.replace(self.folder / "progress.json")
        for old in self.folder.glob("checkpoint-*.keras"):
            if old != checkpoint:
                old.unlink()

    def finish(self, progress: Progress) -> None:
        """Draw the curves and drop the checkpoint, which is three times as large as the model."""
        if progress.history:
            training_curves(progress.history, self.folder / "curves.png")
        for checkpoint in self.folder.glob("checkpoint-*.keras"):
            checkpoint.unlink()


def _save_model(model: keras.Model, file: Path, include_optimizer: bool = True) -> None:
    partial = file.with_suffix(".partial.keras")
    model.save(partial, include_optimizer=include_optimizer)
    partial.replace(file)


def environment() -> dict[str, Any]:
    """Versions and machine, as kept in a run folder and in a manifest."""
    packages = ("leukoscope", "keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless")
    return {
        "packages": {name: version(name) for name in packages if _installed(name)},
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def load_side(data: Path, split: Split, side: Side, recipe: Recipe) -> tuple[list[Cell], Pixels]:
    """The cells of one side of a split and their crops, from the cache where they are there."""
    by_path = {cell.path: cell for cell in scan(data)}
    missing = [path for path in split.side(side) if path not in by_path]
    if missing:
        raise InputError(f"{data}: {len(missing)} images of the split are not there, the first {missing[0]}")
    cells = [by_path[path] for path in split.side(side)]
    return cells, crop_cache.load(data_root(data), cells, recipe.model.geometry, progress=_cropping)


def _cropping(done: int, of: int) -> None:
    if done % 1000 == 0:
        log.info("cropping: %d of %d images", done, of)


def train(
    run: Run, data: Path, *, weights: str, limit: int | None = None, teacher: Path | None = None
) -> Progress:
    """Train a run to its end, from its last checkpoint where there is one.

    A resumed run ends with the same weights as an unbroken one: order, noise, augmentation and dropout
    are drawn from the seed and the epoch, and the checkpoint holds the optimizer's state.

    Args:
        run: a run folder made by `Run.create`.
        data: the data set's folder.
        weights: see `train.model.mobilenet_m`; only for a run's first epoch.
        limit: at most this many images on each side, for a quick try.
        teacher: run folder of the model whose judgement is learnt in place of the labels.

    Raises:
        InputError: recipe, split and teacher do not go together.
        LeukoscopeError: the run folder cannot be written, or the loss is no number any more.
    """
    recipe, split, progress = run.recipe(), run.split(), run.progress()
    if progress and progress.stopped:
        return progress
    if recipe.fit.schedule == "plateau" and not split.val:
        raise InputError(
            f"{run.folder}: schedule plateau chooses by the validation loss, but the split has no validation "
            "side; take a recipe with schedule cosine or another split"
        )
    _use_every_gpu()
    cells, crops = _limited(*load_side(data, split, "train", recipe), limit)
    if bool(recipe.distil.variants) != bool(teacher):
        raise InputError(
            f"{run.folder}: a recipe with distil.variants above 0 and --teacher RUN go together, and only together"
        )
    taught = _taught(run, Run(teacher), cells, data, recipe) if teacher else None
    validation = None
    if split.val:
        held, held_crops = _limited(*load_side(data, split, "val", recipe), limit)
        validation = PlainBatches(held_crops, held, recipe.model)
    if progress is None:
        steps = len(TrainingBatches(crops, cells, recipe, 0))
        model, progress = new_model(recipe, weights, steps), Progress(learning_rate=recipe.fit.learning_rate)
        if recipe.fit.probe_c:
            set_head(model, cells, data, recipe)
        if recipe.fit.epochs == 0:
            progress.stopped = "the regression alone, 0 epochs"
            run.save(model, progress, better=True)
    else:
        model = keras.models.load_model(run.folder / f"checkpoint-{progress.epoch}.keras")
    while not progress.stopped:
        batches = TrainingBatches(crops, cells, recipe, progress.epoch, taught=taught)
        row = _one_epoch(model, batches, validation, recipe.fit, progress)
        better = progress.advance(row, recipe.fit)
        try:
            run.save(model, progress, better)
        except OSError as error:
            raise LeukoscopeError(f"{run.folder}: {error}; make room, then go on with --resume") from error
        left = (
            f", at most {progress.seconds_left(recipe.fit) / 60:.0f} min left" if not progress.stopped else ""
        )
        log.info("epoch %d: %s%s%s", progress.epoch, _figures(row), " (best)" if better else "", left)
    run.finish(progress)
    return progress


def _taught(run: Run, teacher: Run, cells: Sequence[Cell], data: Path, recipe: Recipe) -> Floats:
    """What the teacher says of the training cells; refused where it knows those that will judge."""
    split, its = run.split(), teacher.split()
    known = {*its.train} & {*split.val, *split.test} | {*its.val} & {*split.test}
    if known:
        raise InputError(
            f"{teacher.folder}: was trained on {len(known)} cells that judge {run.folder}, {min(known)} for one; "
            "give a teacher of the same split"
        )
    return taught_targets(teacher.best_model(), teacher.recipe().model, cells, data, recipe)


def _use_every_gpu() -> None:
    """Share each batch among all GPUs of this machine, where there are several."""
    try:
        gpus = [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]
    except AttributeError:  # Keras on PyTorch has no list of devices
        return
    if len(gpus) > 1 and keras.distribution.distribution() is None:
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=gpus))
        log.info("training on %d GPUs", len(gpus))


def new_model(recipe: Recipe, weights: str, steps_per_epoch: int) -> keras.Model:
    """The network of a recipe, ready for its first step; for `weights` see `train.model.mobilenet_m`."""
    keras.utils.set_random_seed(recipe.fit.seed)
    model = mobilenet_m(recipe.model, weights)
    model.compile(
        build(recipe.fit, steps_per_epoch),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.fit.label_smoothing),
        metrics=["accuracy"],
    )
    return model


def _one_epoch(
    model: keras.Model,
    batches: TrainingBatches,
    validation: PlainBatches | None,
    fit: FitRecipe,
    progress: Progress,
) -> dict[str, float]:
    started = time.monotonic()
    for layer in model.layers:  # dropout draws anew each epoch, from the seed and the epoch alone
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            layer.seed_generator.state.assign(np.array([fit.seed, progress.epoch], "uint32"))
    if fit.schedule == "plateau":
        model.optimizer.learning_rate = progress.learning_rate
    with contextlib.redirect_stdout(sys.stderr):  # results alone go to standard output
        history = model.fit(
            batches,
            validation_data=validation,
            epochs=1,
            shuffle=False,
            verbose="auto" if sys.stderr.isatty() else 2,
        ).history
    row = {name: float(values[-1]) for name, values in history.items()}
    if not np.isfinite(row["loss"]):
        raise LeukoscopeError("the loss is not a number any more; lower fit.learning_rate and train anew")
    row["learning_rate"] = float(model.optimizer.learning_rate)
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
