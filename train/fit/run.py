"""Run folders: what was to be trained, with what, how far it came, and its best weights."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import msgspec

import train.fit.fused  # noqa: F401 - so that Keras knows the layer that saved models name
from edge.errors import InputError, LeukoscopeError
from edge.host import typedfile
from train.data.split import Split
from train.data.split import read as read_split
from train.data.split import write as write_split
from train.fit.curves import training_curves
from train.fit.recipe import FitRecipe, Recipe

_REMEDY = "give the folder of a `leukoscope train` run"


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
        return typedfile.read(file, Recipe, msgspec.json.decode, name=str(file), remedy=_REMEDY)

    def split(self) -> Split:
        """Who trained, chose and judged."""
        return read_split(self.folder / "split.json")

    def environment(self) -> dict[str, Any]:
        """Versions, machine and command of this run.

        Raises:
            InputError: the folder is not a run.
        """
        file = self.folder / "environment.json"
        return typedfile.read(file, dict[str, Any], msgspec.json.decode, name=str(file), remedy=_REMEDY)

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
            # A network of its own has no optimizer, which Keras would write three times the weights for.
            _save_model(keras.Model(model.input, model.output, name=model.name), self.folder / "best.keras")
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


def _save_model(model: keras.Model, file: Path) -> None:
    partial = file.with_suffix(".partial.keras")
    model.save(partial)
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
