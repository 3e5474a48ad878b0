"""The commands for data sets, training and evaluation; their options are in edge.cli.host."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import InputError, LeukoscopeError
from edge.host.journal import safe_lines
from edge.host.terminal import console
from edge.model.installed import installed_models
from edge.notice import NOTICE
from train.data import dataset as datasets
from train.data import split as splits
from train.fit import recipe as recipes

if TYPE_CHECKING:  # TensorFlow takes seconds to load
    from train.evaluate import report
    from train.evaluate.camera import Figures
    from train.evaluate.evaluation import Scorer
    from train.evaluate.predictions import Kind, Predictions
    from train.fit.run import Progress

log = logging.getLogger(__name__)

DEFAULT_RECIPE = "paper"
IMAGENET, NO_WEIGHTS = "imagenet", "none"


def dataset_verify(options: argparse.Namespace) -> int:
    """`leukoscope dataset verify`; 1 if anything is missing or wrong."""
    from train.data.verify import verify
    from train.data.verify_report import report_lines, reporter

    report = verify(
        options.directory, options.manifest, positive=options.positive, progress=reporter(log.info)
    )
    if options.json:
        console.document(report)
    else:
        print(safe_lines("\n".join(report_lines(report)), indent=""))
    return 0 if report.ok else 1


def dataset_split(options: argparse.Namespace) -> int:
    """`leukoscope dataset split`."""
    data = datasets.load(options.directory, options.positive)
    if options.fold is None and data.has_folds():
        raise InputError(f"{options.directory}: C-NMC has folds; give --fold 0, 1 or 2")
    split = splits.split_fold(data.cells, options.fold or 0, options.method, options.seed)
    summary = splits.summary(split, data.cells, data.classes)
    if options.out:
        splits.write(split, options.out)
    if options.json:
        console.document(summary)
        return 0
    for side in splits.SIDES:
        counts, subjects = summary["counts"][side], summary["subjects"][side]
        numbers = "  ".join(f"{name} {count:5}" for name, count in counts.items())
        print(f"{side:5}  {numbers}  subjects {safe_lines(', '.join(subjects))}")
    if options.method == "image":
        print("Warning: the same patients are in training and test sets; results do not predict new patients")
    return 0


def train(options: argparse.Namespace) -> int:
    """`leukoscope train`."""
    if options.task != "classes":
        if options.network:
            raise InputError(
                "--network goes with --task classes; the networks for fields have none to choose"
            )
        import train.quiet
        from train.fields.command import train as train_fields

        return train_fields(options)
    # What is wrong with these is told before TensorFlow is loaded, which takes seconds.
    asked = None if options.resume else _asked(options)
    import train.quiet  # noqa: F401 - before TensorFlow is loaded
    from train.fit import training as fit
    from train.fit.run import Run
    from train.fit.start import check_start, resumed_limit

    if asked is None:
        run = Run(options.out)
        run.recipe()
        data = run.data_set(options.data, options.positive)
        # The teacher goes with the run; its probabilities are computed again, or come from the cache.
        before = run.environment().get("teacher")
        options.teacher = options.teacher or (Path(before) if before else None)
        _refuse_other_split(options, run.split(), data)
        options.limit = resumed_limit(run, options.limit, options.epochs)
        if options.recipe or options.set or options.network:
            log.warning(
                "%s: the run keeps its recipe; --recipe, --network and --set are not used", options.out
            )
    else:
        Run.refuse_existing(options.out)
        data, split, recipe = asked
        check_start(recipe, split, data, _weights(options, recipe), options.teacher, options.out)
        run = Run.create(options.out, recipe, split, _settings(options, data, recipe))
    try:
        progress = fit.train(
            run, data, weights=_weights(options, run.recipe()), limit=options.limit, teacher=options.teacher
        )
    except LeukoscopeError:
        run.discard_unless_begun()
        raise
    words = f"{options.out}: {progress.stopped}; best epoch {progress.best_epoch}"
    console.result(options.json, {"run": str(options.out), **_facts(progress)}, words)
    sources = shlex.join(str(source) for source in options.data or []) or "DIR"
    console.note(f"next: leukoscope evaluate {shlex.quote(str(options.out))} --data {sources} --out report")
    return 0


def _asked(options: argparse.Namespace) -> tuple[datasets.DataSet, splits.Split, recipes.Recipe]:
    """The data, split and recipe of a new training."""
    data = datasets.load(options.data, options.positive)
    return data, _training_split(options, data), _recipe(options)


def _facts(progress: "Progress") -> dict[str, object]:
    """What `train --json` prints of a finished run, with the figures of its best epoch."""
    best = progress.history[progress.best_epoch - 1] if progress.history else {}
    return {
        "stopped": progress.stopped,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best": best,
    }


def _refuse_other_split(options: argparse.Namespace, split: splits.Split, data: datasets.DataSet) -> None:
    """A resumed run keeps its split: refuse options that name another one."""
    named = options.split_file or options.fold is not None or options.split is not None
    if named and _training_split(options, data) != split:
        raise InputError(f"{options.out}: the run has another split; leave --fold, --split and --seed out")


def _recipe(options: argparse.Namespace) -> recipes.Recipe:
    epochs = [f"fit.epochs={options.epochs}"] if options.epochs else []
    recipe = recipes.load(options.recipe or DEFAULT_RECIPE)
    return recipes.changed(recipe, [*_network(options), *options.set, *epochs])


def _network(options: argparse.Namespace) -> list[str]:
    """--network as a change of the recipe; none if it is not given."""
    if options.network is None:
        return []
    if options.network not in recipes.NETWORKS:
        raise InputError(f"--network {options.network}: give one of {', '.join(recipes.NETWORKS)}")
    return [f"model.network={options.network}"]


def _weights(options: argparse.Namespace, recipe: recipes.Recipe) -> str:
    """What the network begins with: as given, else ImageNet weights if Keras has them, else random."""
    known = recipe.model.network in recipes.PRE_TRAINED
    return options.weights or (IMAGENET if known else NO_WEIGHTS)


def _settings(
    options: argparse.Namespace, data: datasets.DataSet, recipe: recipes.Recipe
) -> dict[str, object]:
    """What a run folder keeps of its command beside recipe and split."""
    changes = "".join(f" --set {shlex.quote(change)}" for change in [*_network(options), *options.set])
    return {
        "data": [str(source.resolve()) for source in options.data],
        "classes": data.classes.names(),
        "recipe": (options.recipe or DEFAULT_RECIPE) + changes,
        "weights": _weights(options, recipe),
        "limit": options.limit,
        "teacher": str(options.teacher.resolve()) if options.teacher else "",
        "command": shlex.join(["leukoscope", *sys.argv[1:]]),
    }


def _training_split(options: argparse.Namespace, data: datasets.DataSet) -> splits.Split:
    """The split that the options name: from a file, of a fold, or all cells to train on."""
    if options.split_file:
        return splits.read(options.split_file)
    if (options.fold == "all") != (options.split == "none"):
        raise InputError("--fold all and --split none go together: they train on every cell")
    if options.fold == "all":
        return splits.everything(data.cells, options.seed)
    if options.split is None or (options.fold is None and data.has_folds()):
        raise InputError("give --fold and --split, or --split-file")
    return splits.split_fold(data.cells, int(options.fold or 0), options.split, options.seed)


def evaluate(options: argparse.Namespace) -> int:
    """`leukoscope evaluate`."""
    if options.cross_validate:
        return _cross_validate(options)
    _refuse_training_options(options)
    levels, subject = noise_levels(options.noise), _run_or_model(options.subject)
    from train.evaluate import evaluation, report
    from train.evaluate.predictions import named, rows_of

    scorer, own = evaluation.load_scorer(subject)
    data = datasets.load(options.data, options.positive, scorer.classes)
    split = _split_to_judge(options, data, own)
    if options.out:
        report.make_folder(options.out)
    cells = datasets.cells_of(data, split.test)
    notes = evaluation.cautions(scorer, split, cells)
    if options.limit:
        notes.append(
            f"--limit {options.limit}: only that many cells of each set were evaluated, for a quick trial"
        )
    predictions = evaluation.judge(
        scorer, data, split, levels, noise_on=options.noise_on, limit=options.limit
    )
    new_patients = evaluation.judges_new_patients(scorer, split, cells)
    kind: Kind = "every cell" if options.all else "test split"
    rows = named(rows_of(predictions, "subjects" if new_patients else "cells", kind), scorer.classes)
    suite, suite_cells = _camera_suite(options, scorer, data, predictions)
    made = report.Report(
        title=f"Evaluation of {subject.name}: "
        + (kind if options.all else f"fold {split.fold}, split by {split.method}"),
        rows=[row | {"camera": suite} for row in rows] if suite else rows,
        predictions=predictions,
        new_patients=new_patients,
        seen_name="Image split" if split.method == "image" else "Perhaps trained on",
        fold=split.fold if split.method == "image" and data.has_folds() else None,
        notes=notes,
        facts=evaluation.facts(options.subject, scorer, split, _evaluate_command(options)),
        histories=evaluation.histories(subject),
        classes=scorer.classes,
        layout=data.layout,
        images=data.root,
        camera_suite=suite,
        camera_cells=suite_cells,
    )
    return _finish(made, options.out, as_json=options.json, last=f"split by {split.method}")


def _run_or_model(named: str) -> Path:
    """A run folder or a model file: a path, or the name of an installed model."""
    path = Path(named)
    if path.exists():
        return path
    for file in installed_models():
        if file.stem == named:
            return file
    raise InputError(
        f"{named}: no such run folder, no such model file, and no installed model of that name; see: leukoscope "
        "model list"
    )


def _split_to_judge(
    options: argparse.Namespace, data: datasets.DataSet, own: splits.Split | None
) -> splits.Split:
    """The split whose test list is evaluated: of a file, of every cell, or the run's own."""
    if options.all and options.split_file:
        raise InputError("--all evaluates every cell, --split-file a test list; give one of them")
    if options.all:
        return splits.every_cell(data.cells)
    split = splits.read(options.split_file) if options.split_file else own
    if split is None:
        raise InputError(
            f"{options.subject}: name the images to evaluate with --split-file (its test list is used), or give --all"
        )
    return split


def _refuse_training_options(options: argparse.Namespace) -> None:
    """What only the trainings of a cross-validation use is not ignored without a word."""
    given = {
        "--network": options.network,
        "--set": options.set,
        "--weights": options.weights,
        "--teacher": options.teacher,
    }
    for name, value in given.items():
        if value:
            raise InputError(
                f"{name} is for training: it goes with --cross-validate, not with a finished model"
            )


def _finish(made: "report.Report", out: Path | None, *, as_json: bool, last: str) -> int:
    """Write a report, print its metrics and warnings; 0."""
    from train.evaluate import camera, report

    if out:
        report.write(out, made)
        log.info("%s: report.html, metrics.json, predictions.csv and plots", out)
    if as_json:
        console.document(list(made.rows))
    else:
        print(report.text(made.rows, made.new_patients, made.seen_name))
        if made.camera_suite:
            print(camera.text(made.camera_suite, made.camera_cells))
    for note in made.notes:
        console.warn(note)
    console.note(f"{last}; {NOTICE}")
    return 0


def _camera_suite(
    options: argparse.Namespace,
    scorer: "Scorer",
    data: datasets.DataSet,
    predictions: Sequence["Predictions"],
) -> tuple[dict[str, "Figures"], int]:
    """The camera suite if requested, and its number of cells: those of new patients if there are any."""
    from train.evaluate import camera

    if not options.camera:
        return {}, 0
    sets = {made.which: made.cells for made in predictions}
    cells = sets["test"] if options.all else sets.get("other_subjects", sets["test"])
    return camera.judge(scorer.score, scorer.geometry, data.root, cells), len(cells)


def _cross_validate(options: argparse.Namespace) -> int:
    """`leukoscope evaluate RECIPE --cross-validate K`: the metrics of pooled patients held out."""
    from train.evaluate import crossval, evaluation, report
    from train.evaluate.predictions import named, rows_of

    if not options.out:
        raise InputError("--cross-validate keeps one run folder per fold: give --out DIR")
    if options.split_file:
        raise InputError("--split-file does not go with --cross-validate, which makes its own folds")
    options.recipe, options.epochs = options.subject, None
    recipe, levels = _recipe(options), noise_levels(options.noise)
    data = datasets.load(options.data, options.positive)
    report.make_folder(options.out)
    settings = _settings(options, data, recipe)
    predictions, curves = crossval.cross_validate(
        recipe,
        data,
        options.out,
        folds=options.cross_validate,
        levels=levels,
        noise_on=options.noise_on,
        weights=_weights(options, recipe),
        seed=options.seed,
        settings=settings,
        limit=options.limit,
        teachers=options.teacher,
    )
    made = report.Report(
        title=f"Recipe {settings['recipe']}: cross-validation over patients, {options.cross_validate} folds",
        rows=named(rows_of(predictions, "subjects", "cross-validation"), data.classes),
        predictions=predictions,
        new_patients=True,
        facts=evaluation.how_made(["leukoscope", *sys.argv[1:]]),
        histories=curves,
        classes=data.classes,
        layout=data.layout,
        images=data.root,
    )
    last = "no patient was both trained on and evaluated"
    return _finish(made, options.out, as_json=options.json, last=last)


def ensemble(options: argparse.Namespace) -> int:
    """`leukoscope ensemble`: runs, or what evaluations kept of them."""
    from train.evaluate.ensemble import join_runs
    from train.fit.run import Run

    if len(options.members) < 2:
        raise InputError(f"{options.members[0]}: an ensemble has at least two members; give another")
    if not any((folder / "recipe.json").is_file() for folder in options.members):
        return _joined_evaluations(options)
    runs = [Run(folder) for folder in options.members]
    recipes = " + ".join(run.environment().get("recipe", "") for run in runs)
    settings = {
        "data": runs[0].environment().get("data", ""),
        "classes": runs[0].classes().names(),
        "limit": runs[0].environment().get("limit"),
        "recipe": f"ensemble of {recipes}",
        "members": [str(run.folder.resolve()) for run in runs],
        "command": shlex.join(["leukoscope", *sys.argv[1:]]),
    }
    join_runs(runs, options.out, settings)
    words = f"{options.out}: {len(runs)} networks in one; export and evaluate take it as any run"
    console.result(options.json, {"run": str(options.out), "members": settings["members"]}, words)
    return 0


def _joined_evaluations(options: argparse.Namespace) -> int:
    from train.evaluate import evaluation, report
    from train.evaluate.ensemble import are_cross_validations, join_predictions
    from train.evaluate.predictions import Kind, named, rows_of

    if options.data is None:
        raise InputError(
            "none of these is a run; to join what evaluate wrote, name the data set with --data DIR"
        )
    data = datasets.load(options.data, options.positive)
    report.make_folder(options.out)
    predictions, new_patients = join_predictions(options.members, data)
    kind: Kind = "cross-validation" if are_cross_validations(options.members) else "test split"
    made = report.Report(
        title="Ensemble of " + " and ".join(folder.name for folder in options.members),
        rows=named(rows_of(predictions, "subjects" if new_patients else "cells", kind), data.classes),
        predictions=predictions,
        new_patients=new_patients,
        facts=evaluation.how_made(["leukoscope", *sys.argv[1:]]),
        classes=data.classes,
        layout=data.layout,
        images=data.root,
    )
    return _finish(made, options.out, as_json=options.json, last="members joined")


def _evaluate_command(options: argparse.Namespace) -> list[str]:
    """The words that repeat this evaluation."""
    words = ["leukoscope", "evaluate", options.subject, "--data", *map(str, options.data)]
    words += ["--positive", options.positive] if options.positive else []
    words += ["--limit", str(options.limit)] if options.limit else []
    words += ["--split-file", str(options.split_file)] if options.split_file else []
    words += [f"--{name}" for name in ("all", "camera") if getattr(options, name)]
    words += ["--noise", options.noise, "--noise-on", options.noise_on]
    return [*words, "--out", str(options.out)] if options.out else words


def noise_levels(text: str) -> list[float]:
    """Sigmas with commas between, each once."""
    try:
        levels = [float(level) for level in text.split(",")]
    except ValueError as error:
        raise InputError(f"--noise {text}: not numbers separated by commas") from error
    wrong = [level for level in levels if not 0 <= level <= 255]
    if wrong:
        raise InputError(f"--noise {text}: {wrong[0]:g} is not a sigma from 0 to 255 8-bit levels")
    return list(dict.fromkeys(levels))
