"""Training: epoch after epoch, each ending with a checkpoint from which a killed run continues."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from edge.errors import LeukoscopeError
from edge.host.terminal import progress as bars
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry
from train.data import crops as crop_cache
from train.data.dataset import LABELS, Cell, Data, cells_of, data_root
from train.data.split import Side, Split, evenly
from train.fit.batches import Floats, PlainBatches, TrainingBatches
from train.fit.distil import taught_targets
from train.fit.model import network
from train.fit.optimizer import build
from train.fit.probe import set_head
from train.fit.recipe import FitRecipe, Recipe
from train.fit.run import Progress, Run
from train.fit.start import refuse_knowing_teacher, refuse_what_does_not_fit

log = logging.getLogger(__name__)


def load_side(
    data: Data,
    split: Split,
    side: Side,
    recipe: Recipe,
    limit: int | None = None,
    *,
    geometry: Geometry | None = None,
) -> tuple[list[Cell], Pixels]:
    """The cells of one list of a split and their crops, from the cache if they are there.

    Args:
        geometry: of the crops; None for the network's input.
        limit: at most this many, evenly spread, for a quick trial.
    """
    cells = cells_of(data, split.side(side))
    cells = [cells[i] for i in evenly(len(cells), limit)]
    return cells, crop_cache.load(data_root(data), cells, geometry or recipe.model.geometry)


def train(
    run: Run, data: Data, *, weights: str, limit: int | None = None, teacher: Path | None = None
) -> Progress:
    """Train a run to its end, from its last checkpoint if there is one.

    A resumed run ends with the same weights as an uninterrupted one: order, noise, augmentation and dropout
    are drawn from the seed and the epoch, and the checkpoint holds the optimizer's state.

    Args:
        run: a run folder made by `Run.create`.
        data: the data set's folder.
        weights: see `train.fit.model.network`; only for a run's first epoch.
        limit: at most this many images of each set, for a quick trial.
        teacher: run folder of the model whose judgement is learnt, as the recipe's `distil` has it.

    Raises:
        InputError: recipe, split and teacher do not go together.
        LeukoscopeError: the run folder cannot be written, or the loss became NaN.
    """
    recipe, split, progress = run.recipe(), run.split(), run.progress()
    if progress and progress.stopped:
        return progress
    refuse_what_does_not_fit(run.folder, recipe, split, teacher)
    _use_every_gpu()
    cells, crops = load_side(data, split, "train", recipe, limit, geometry=recipe.training_geometry)
    taught, says = _taught(run, Run(teacher), cells, data, recipe) if teacher else (None, None)
    validation = None
    if split.val:
        held, held_crops = load_side(data, split, "val", recipe, limit)
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
        model = run.checkpoint(progress)
    _build_loss_and_metrics(model)
    steps = len(TrainingBatches(crops, cells, recipe, 0)) + (len(validation) if validation else 0)
    with bars.progress("training", steps * (recipe.fit.epochs - progress.epoch)) as (step, _):
        while not progress.stopped:
            batches = TrainingBatches(crops, cells, recipe, progress.epoch, taught=taught, says=says)
            _one_epoch(run, model, batches, validation, recipe.fit, progress, step)
    run.finish(progress)
    return progress


def _taught(
    run: Run, teacher: Run, cells: Sequence[Cell], data: Data, recipe: Recipe
) -> tuple[Floats | None, Callable[[Floats], Floats] | None]:
    """What the teacher says of variants of the training cells, or how to ask it; refused if it knows those that will
    evaluate."""
    refuse_knowing_teacher(run.folder, run.split(), teacher)
    model = teacher.best_model()
    if recipe.distil.live:
        return None, lambda inputs: np.asarray(model.predict_on_batch(inputs))
    return taught_targets(model, teacher.recipe().model, cells, data, recipe), None


def _use_every_gpu() -> None:
    """Share each batch among all GPUs of this machine, if there are several."""
    try:
        gpus = [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]
    except AttributeError:  # Keras on PyTorch has no list of devices
        return
    if len(gpus) > 1 and keras.distribution.distribution() is None:
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=gpus))
        log.info("training on %d GPUs", len(gpus))


def new_model(recipe: Recipe, weights: str, steps_per_epoch: int) -> keras.Model:
    """The network of a recipe, ready for its first step; for `weights` see `train.fit.model.network`."""
    keras.utils.set_random_seed(recipe.fit.seed)
    model = network(recipe.model, weights)
    model.compile(
        build(recipe.fit, steps_per_epoch),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.fit.label_smoothing),
        metrics=["accuracy"],
    )
    return model


def _build_loss_and_metrics(model: keras.Model) -> None:
    """Keras on JAX or PyTorch would look at a batch for that, and then begin the epoch with the one after it."""
    targets = keras.ops.ones((1, len(LABELS)))
    model.compute_loss(y=targets, y_pred=targets)
    model.compute_metrics(None, targets, targets, None)


def _one_epoch(
    run: Run,
    model: keras.Model,
    batches: TrainingBatches,
    validation: PlainBatches | None,
    fit: FitRecipe,
    progress: Progress,
    step: bars.Step,
) -> None:
    """Train one epoch, take its figures into the progress and keep both."""
    row = _fitted(model, batches, validation, fit, progress, step)
    better = progress.advance(row, fit)
    try:
        run.save(model, progress, better)
    except OSError as error:
        raise LeukoscopeError(
            f"{run.folder}: {error}; free some space, then continue with --resume"
        ) from error
    best = ", best" if better else ""
    left = "" if progress.stopped else f", at most {math.ceil(progress.seconds_left(fit) / 60)} min left"
    log.info("epoch %d of %d: %s%s%s", progress.epoch, fit.epochs, _figures(row), best, left)


def _fitted(
    model: keras.Model,
    batches: TrainingBatches,
    validation: PlainBatches | None,
    fit: FitRecipe,
    progress: Progress,
    step: bars.Step,
) -> dict[str, float]:
    started = time.monotonic()
    keras.utils.set_random_seed(fit.seed + progress.epoch)  # what PyTorch draws its dropout from
    for layer in model.layers:  # dropout draws anew each epoch, from the seed and the epoch alone
        if (generator := getattr(layer, "seed_generator", None)) is not None:
            generator.state.assign(np.array([fit.seed, progress.epoch], "uint32"))
    if fit.schedule == "plateau":
        model.optimizer.learning_rate = progress.learning_rate
    what = f"epoch {progress.epoch + 1} of {fit.epochs}"
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: step(what), on_test_batch_end=lambda batch, logs: step(what)
    )
    history = model.fit(
        batches, validation_data=validation, epochs=1, shuffle=False, verbose=0, callbacks=[count]
    ).history
    row = {name: float(values[-1]) for name, values in history.items()}
    if not np.isfinite(row["loss"]):
        raise LeukoscopeError("the loss became NaN; lower fit.learning_rate and train again")
    row["learning_rate"] = float(model.optimizer.learning_rate)
    row["seconds"] = round(time.monotonic() - started, 1)
    return row


def _figures(row: dict[str, float]) -> str:
    """Loss and accuracy for people, each with that of the validation cells if there are any; the run keeps all figures."""
    texts: list[str] = []
    for name, form in (("loss", ".3f"), ("accuracy", ".1%")):
        if name in row:
            word = "" if texts else "validation "
            on_validation = f" ({word}{row[f'val_{name}']:{form}})" if f"val_{name}" in row else ""
            texts.append(f"{name} {row[name]:{form}}{on_validation}")
    return ", ".join(texts)
