"""Run folders: recipe, split, environment, progress and best weights of a training."""

import contextlib
import os
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import msgspec

import train.fit.layers  # noqa: F401 - so that Keras knows the layers that saved models name
from edge.errors import InputError, LeukoscopeError
from edge.host import typedfile
from edge.host.durable import flush_folder, replace_file
from train.data.dataset import OFFICIAL_CLASSES, Classes, DataSet, load
from train.data.split import Split
from train.data.split import read as read_split
from train.data.split import write as write_split
from train.fit.curves import training_curves
from train.fit.model import module_of
from train.fit.recipe import FitRecipe, Recipe

_RECIPE = "recipe.json"
_REMEDY = "give the folder of a `leukoscope train` run"


class Progress(msgspec.Struct, kw_only=True):
    """The state of a training after an epoch; everything that the rules of the next epoch need.

    Attributes:
        epoch: number of epochs done.
        learning_rate: of the next epoch.
        best_epoch, best_val_loss: of the weights in `best.keras`; no loss if there is no validation.
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
        """Add the metrics of one epoch; True if they are the best so far."""
        self.epoch += 1
        self.history.append(row)
        if fit.schedule == "cosine":
            # The last epoch is the one that the schedule was made for; nothing is chosen by validation.
            self.best_epoch, self.best_val_loss = self.epoch, row.get("val_loss")
            self.stopped = _epochs_done(fit.epochs) if self.epoch >= fit.epochs else ""
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
            self.stopped = _epochs_done(fit.epochs)
        return better

    def seconds_left(self, fit: FitRecipe) -> float:
        """Time of the remaining epochs at the pace of the last one, without early stopping."""
        until = fit.epochs
        if fit.schedule == "plateau":
            until = min(until, self.best_epoch + fit.stop_patience)
        return (until - self.epoch) * self.history[-1]["seconds"]


def _epochs_done(epochs: int) -> str:
    return "1 epoch done" if epochs == 1 else f"{epochs} epochs done"


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
        cls.refuse_existing(folder)
        run = cls(folder)
        _make_folder(folder)
        replace_file(folder / "environment.json", _json(environment() | settings))
        write_split(split, folder / "split.json")
        replace_file(folder / _RECIPE, _json(recipe))  # last: with it the folder is a run
        return run

    @staticmethod
    def refuse_existing(folder: Path) -> None:
        """Refuse a folder that holds a run.

        Raises:
            InputError: it does.
        """
        if (folder / _RECIPE).exists():
            raise InputError(f"{folder}: already contains a run; use --resume or another --out")

    def discard_unless_begun(self) -> None:
        """Remove a run that has not ended an epoch: a start that failed leaves nothing behind."""
        if (self.folder / "progress.json").exists():
            return
        for name in (_RECIPE, "split.json", "environment.json"):
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the user's own files are in it
            self.folder.rmdir()

    def set_epochs(self, epochs: int) -> None:
        """Change how many epochs the run has."""
        recipe = self.recipe()
        changed = msgspec.structs.replace(recipe, fit=msgspec.structs.replace(recipe.fit, epochs=epochs))
        replace_file(self.folder / _RECIPE, _json(changed))

    def recipe(self) -> Recipe:
        """The resolved recipe of this run.

        Raises:
            InputError: the folder is not a run.
        """
        file = self.folder / _RECIPE
        if not file.exists():
            why = "no training run in this folder" if self.folder.is_dir() else "no such folder"
            raise InputError(f"{self.folder}: {why}; {_REMEDY}")
        return typedfile.read(file, Recipe, msgspec.json.decode, name=str(file), remedy=_REMEDY)

    def split(self) -> Split:
        """The split of this run."""
        return read_split(self.folder / "split.json")

    def environment(self) -> dict[str, Any]:
        """Versions, machine and command of this run.

        Raises:
            InputError: the folder is not a run.
        """
        file = self.folder / "environment.json"
        return typedfile.read(file, dict[str, Any], msgspec.json.decode, name=str(file), remedy=_REMEDY)

    def classes(self) -> Classes:
        """The names of the two classes that this run learns."""
        names = self.environment().get("classes")
        return Classes(*names) if names else OFFICIAL_CLASSES

    def data_set(self, sources: Sequence[Path] | None = None, positive: str | None = None) -> DataSet:
        """A data set with the classes of this run; what it trained on if no sources are given.

        Raises:
            InputError: there is no such data set, or its classes are others.
        """
        if not sources:
            kept = self.environment().get("data") or []
            sources = [Path(source) for source in ([kept] if isinstance(kept, str) else kept)]
            missing = [source for source in sources if not source.exists()]
            if missing or not sources:
                named = missing[0] if missing else "none"
                raise InputError(f"data set {named}: no such folder; give it with --data")
        return load(sources, positive, self.classes())

    def progress(self) -> Progress | None:
        """The progress of the run, or None before the end of its first epoch."""
        file = self.folder / "progress.json"
        return msgspec.json.decode(file.read_bytes(), type=Progress) if file.exists() else None

    def best_model(self) -> keras.Model:
        """The model of the epoch with the best validation loss.

        Raises:
            InputError: no epoch has ended yet.
        """
        file = self.folder / "best.keras"
        if not file.is_file():
            raise InputError(
                f"{file}: missing; the run has not finished its first epoch; go on with it: train --resume"
            )
        module_of(self.recipe().model.network)
        return keras.models.load_model(file, compile=False)

    def checkpoint(self, progress: Progress) -> keras.Model:
        """The model as it stood after the last epoch, with its optimizer."""
        module_of(self.recipe().model.network)
        return keras.models.load_model(self.folder / f"checkpoint-{progress.epoch}.keras")

    def save(self, model: keras.Model, progress: Progress, better: bool) -> None:
        """Keep one epoch's end so that a kill at any instant leaves this epoch or the one before it."""
        checkpoint = self.folder / f"checkpoint-{progress.epoch}.keras"
        _save_model(model, checkpoint)
        if better:
            # A network of its own has no optimizer, which Keras would write three times the weights for.
            _save_model(keras.Model(model.input, model.output, name=model.name), self.folder / "best.keras")
        replace_file(self.folder / "progress.json", msgspec.json.encode(progress))
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
    """Write a model, whole or not at all, onto the disk."""
    with tempfile.TemporaryDirectory(prefix=f".{file.stem}.", dir=file.parent) as folder:
        whole = Path(folder, file.name)  # Keras writes by name, and takes the format from its end
        model.save(whole)
        with whole.open("rb+") as written:
            os.fsync(written.fileno())
        whole.replace(file)
    flush_folder(file.parent)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LeukoscopeError(f"{folder}: {error.strerror}; give a folder that can be written") from error


def _json(content: Recipe | dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2)


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
