"""Checks before a training starts: everything that can be checked before hours of work."""

import tempfile
from pathlib import Path

from edge.errors import InputError, LeukoscopeError
from train.data.dataset import DataSet, cells_of
from train.data.split import SIDES, Split
from train.fit.model import network
from train.fit.recipe import MOBILENET_M, Recipe
from train.fit.run import Run


def check_start(
    recipe: Recipe, split: Split, data: DataSet, weights: str, teacher: Path | None, folder: Path
) -> None:
    """Refuse a training that could not start or whose parts do not fit together.

    Args:
        weights: see `train.fit.model.network`.
        teacher: run folder of the model to learn from.
        folder: of the run, which need not be there yet.

    Raises:
        InputError: recipe, split, data, weights and teacher do not go together.
        LeukoscopeError: the folder cannot be written.
    """
    refuse_what_does_not_fit(folder, recipe, split, teacher)
    _refuse_slow_mean(recipe, len(split.train))
    for side in SIDES:
        cells_of(data, split.side(side))
    if teacher is not None:
        refuse_knowing_teacher(folder, split, Run(teacher))
    network(recipe.model, weights)
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """Whether files can be made in a folder, or in the nearest one above it that is there.

    Raises:
        LeukoscopeError: they cannot.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise LeukoscopeError(
            f"{folder}: {error.strerror}; give a folder that can be written with --out"
        ) from error


def refuse_what_does_not_fit(folder: Path, recipe: Recipe, split: Split, teacher: Path | None) -> None:
    """Refuse a recipe that cannot be trained on this split, or that needs a teacher or none.

    Raises:
        InputError: it cannot.
    """
    if recipe.model.members > 1:
        raise InputError(
            f"{folder}: an ensemble (model.members) is not trained; train each member, then join them with "
            "`leukoscope ensemble`"
        )
    if recipe.fit.schedule == "plateau" and not split.val:
        raise InputError(
            f"{folder}: schedule plateau chooses by the validation loss, but the split has no validation "
            "side; take a recipe with schedule cosine or another split"
        )
    needs_mobilenet = recipe.fit.probe_c or recipe.fit.layer_decay != 1 or recipe.fit.epochs == 0
    if recipe.model.network != MOBILENET_M and needs_mobilenet:
        raise InputError(
            f"{folder}: fit.probe_c, fit.layer_decay and 0 epochs need MobileNet_M's head and blocks; "
            f"{recipe.model.network} has others, leave them out"
        )
    if recipe.distil.needs_teacher != bool(teacher):
        raise InputError(
            f"{folder}: a recipe with distil.variants above 0 or distil.live and --teacher RUN go together, and only "
            "together"
        )
    if teacher is None:
        return
    its = Run(teacher).recipe().model
    if recipe.distil.live:
        for key in ("size", "crop", "input_low", "input_high", "cell_mean"):
            if getattr(its, key) != getattr(recipe.model, key):
                raise InputError(
                    f"{teacher}: has model.{key} {getattr(its, key)}, {folder} {getattr(recipe.model, key)}; with "
                    "distil.live both see the same picture, give a teacher of the same geometry"
                )
    elif its.network != MOBILENET_M:
        raise InputError(
            f"{teacher}: is a {its.network}; a teacher is a MobileNet_M, whose head is taken off"
        )


def _refuse_slow_mean(recipe: Recipe, cells: int) -> None:
    """Refuse a running mean of the weights that an epoch hardly moves: it takes their place at each epoch's end.

    Raises:
        InputError: it reaches over more updates than an epoch has.
    """
    updates = -(-(recipe.balance.draws or cells) // recipe.fit.batch)
    if recipe.fit.ema_decay > (most := 1 - 1 / max(updates, 1)):
        raise InputError(
            f"fit.ema_decay is {recipe.fit.ema_decay}, a mean over {1 / (1 - recipe.fit.ema_decay):.0f} updates, but an "
            f"epoch has {updates}, and the training would hardly move; give {most:.3f} at most"
        )


def refuse_knowing_teacher(folder: Path, split: Split, teacher: Run) -> None:
    """Refuse a teacher that has seen cells which will evaluate its student.

    Raises:
        InputError: it has.
    """
    its = teacher.split()
    known = {*its.train} & {*split.val, *split.test} | {*its.val} & {*split.test}
    if known:
        raise InputError(
            f"{teacher.folder}: was trained on {len(known)} cells that evaluate {folder}, such as {min(known)}; "
            "give a teacher of the same split"
        )


def resumed_limit(run: Run, limit: int | None, epochs: int | None) -> int | None:
    """What `train --resume` is to do with --limit and --epochs: do it, or refuse.

    More or fewer epochs are taken over where the rules of the epochs already done do not depend on them.

    Args:
        limit: as given; the run keeps its own.
        epochs: as given; None for those of the recipe.

    Returns:
        The limit of the run.

    Raises:
        InputError: the run would not be the same one.
    """
    kept: int | None = run.environment().get("limit")
    if limit is not None and limit != kept:
        raise InputError(
            f"{run.folder}: the run has --limit {kept or 'none'}; it cannot be changed on the way"
        )
    recipe, progress = run.recipe(), run.progress()
    if epochs is None or epochs == recipe.fit.epochs:
        return kept
    if progress and progress.stopped:
        raise InputError(
            f"{run.folder}: this training has ended ({progress.stopped}) and its checkpoint is gone; train "
            f"with --epochs {epochs} into another --out"
        )
    if recipe.fit.schedule == "cosine" and progress:
        raise InputError(
            f"{run.folder}: the learning rates of schedule cosine were set for {recipe.fit.epochs} epochs; train "
            f"with --epochs {epochs} into another --out"
        )
    if progress and epochs <= progress.epoch:
        raise InputError(f"{run.folder}: {progress.epoch} epochs are done already; give a larger --epochs")
    run.set_epochs(epochs)
    return kept
