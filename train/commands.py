"""What the commands of the host side do with their options."""

import argparse
import json
import logging
import shlex
import sys
from pathlib import Path

import msgspec

from edge.errors import InputError
from edge.notice import NOTICE
from train.data import dataset as cnmc
from train.data import split as splits
from train.fit import recipe as recipes

log = logging.getLogger(__name__)


def dataset_verify(options: argparse.Namespace) -> int:
    """`leukoscope dataset verify`; 1 where anything is missing or not as it should be."""
    from train.data.verify import verify
    from train.data.verify_report import report_lines, reporter

    report = verify(options.directory, options.manifest, progress=reporter(log.info))
    print(msgspec.json.encode(report).decode() if options.json else "\n".join(report_lines(report)))
    return 0 if report.ok else 1


def dataset_split(options: argparse.Namespace) -> int:
    """`leukoscope dataset split`."""
    cells = cnmc.scan(options.directory)
    split = splits.split_fold(cells, options.fold, options.method, options.seed)
    summary = splits.summary(split, cells)
    if options.out:
        splits.write(split, options.out)
    if options.json:
        print(json.dumps(summary))
        return 0
    for side in splits.SIDES:
        counts, subjects = summary["counts"][side], summary["subjects"][side]
        print(f"{side:5}  ALL {counts['ALL']:5}  HEM {counts['HEM']:5}  subjects {', '.join(subjects)}")
    if options.method == "image":
        print("cells of one patient stand on several sides: figures on it say little about a new patient")
    return 0


def train(options: argparse.Namespace) -> int:
    """`leukoscope train`."""
    from train.fit import training as fit
    from train.fit.run import Run

    if options.resume:
        run = Run(options.out)
        run.recipe()
        # The teacher goes with the run; what it says is computed again, or comes from the cache.
        before = run.environment().get("teacher")
        options.teacher = options.teacher or (Path(before) if before else None)
    else:
        split = _training_split(options)
        run = Run.create(options.out, _recipe(options), split, _settings(options))
    progress = fit.train(
        run, options.data, weights=options.weights, limit=options.limit, teacher=options.teacher
    )
    print(f"{options.out}: {progress.stopped}; best epoch {progress.best_epoch}")
    return 0


def _recipe(options: argparse.Namespace) -> recipes.Recipe:
    epochs = [f"fit.epochs={options.epochs}"] if options.epochs else []
    return recipes.changed(recipes.load(options.recipe), [*options.set, *epochs])


def _settings(options: argparse.Namespace) -> dict[str, object]:
    """What a run folder keeps of its command beside recipe and split."""
    changes = "".join(f" --set {shlex.quote(change)}" for change in options.set)
    return {
        "data": str(options.data.resolve()),
        "recipe": options.recipe + changes,
        "weights": options.weights,
        "limit": options.limit,
        "teacher": str(options.teacher.resolve()) if options.teacher else "",
        "command": shlex.join(["leukoscope", *sys.argv[1:]]),
    }


def _training_split(options: argparse.Namespace) -> splits.Split:
    """The split that the options name: from a file, of a fold, or all cells to train on."""
    if options.split_file:
        return splits.read(options.split_file)
    if (options.fold == "all") != (options.split == "none"):
        raise InputError("--fold all trains on every cell and goes with --split none, and only with it")
    cells = cnmc.scan(options.data)
    if options.fold == "all":
        return splits.everything(cells, options.seed)
    if options.fold is None or options.split is None:
        raise InputError("give --fold and --split, or --split-file")
    return splits.split_fold(cells, int(options.fold), options.split, options.seed)


def evaluate(options: argparse.Namespace) -> int:
    """`leukoscope evaluate`."""
    from train.evaluate import evaluation, report
    from train.evaluate.predictions import rows_of

    if options.cross_validate:
        return _cross_validate(options)
    levels = _noise_levels(options.noise)
    scorer, split = evaluation.load_scorer(Path(options.subject))
    if options.split_file:
        split = splits.read(options.split_file)
    if split is None:
        raise InputError(
            f"{options.subject}: name the images to judge with --split-file (its test side is used)"
        )
    if options.out:
        report.make_folder(options.out)
    notes = evaluation.cautions(scorer, split)
    predictions = evaluation.judge(scorer, options.data, split, levels)
    new_patients = evaluation.judges_new_patients(scorer, split)
    seen_name = "Image split" if split.method == "image" else "Perhaps trained on"
    rows = rows_of(predictions, "subjects" if new_patients else "cells")
    if options.out:
        report.write(
            options.out,
            report.Report(
                title=f"Evaluation of {Path(options.subject).name}: fold {split.fold}, split by {split.method}",
                rows=rows,
                predictions=predictions,
                new_patients=new_patients,
                seen_name=seen_name,
                fold=split.fold if split.method == "image" else None,
                notes=notes,
                facts=evaluation.facts(options.subject, scorer, split, _evaluate_command(options)),
                histories=evaluation.histories(Path(options.subject)),
            ),
        )
        log.info("%s: report.html, metrics.json, predictions.csv and plots", options.out)
    print(json.dumps(rows, allow_nan=False) if options.json else report.text(rows, new_patients, seen_name))
    for note in notes:
        print(f"careful: {note}", file=sys.stderr)
    print(f"split by {split.method}; {NOTICE}", file=sys.stderr)
    return 0


def _cross_validate(options: argparse.Namespace) -> int:
    """`leukoscope evaluate RECIPE --cross-validate K`: the figures of pooled patients held out."""
    from train.evaluate import crossval, evaluation, report
    from train.evaluate.predictions import rows_of

    if not options.out:
        raise InputError("--cross-validate keeps a run folder a fold: give --out DIR")
    options.recipe, options.epochs = options.subject, None
    recipe, levels = _recipe(options), _noise_levels(options.noise)
    report.make_folder(options.out)
    settings = _settings(options)
    predictions, curves = crossval.cross_validate(
        recipe,
        options.data,
        options.out,
        folds=options.cross_validate,
        levels=levels,
        weights=options.weights,
        seed=options.seed,
        settings=settings,
        limit=options.limit,
        teachers=options.teacher,
    )
    rows = rows_of(predictions, "subjects")
    title = f"Recipe {settings['recipe']}: cross-validation over patients, {options.cross_validate} folds"
    facts = evaluation.how_made(["leukoscope", *sys.argv[1:]])
    made = report.Report(title, rows, predictions, new_patients=True, facts=facts, histories=curves)
    report.write(options.out, made)
    log.info("%s: report.html, metrics.json, predictions.csv and plots", options.out)
    print(json.dumps(rows, allow_nan=False) if options.json else report.text(rows, new_patients=True))
    print(f"no patient both trained and judged; {NOTICE}", file=sys.stderr)
    return 0


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
        "recipe": f"ensemble of {recipes}",
        "members": [str(run.folder.resolve()) for run in runs],
        "command": shlex.join(["leukoscope", *sys.argv[1:]]),
    }
    join_runs(runs, options.out, settings)
    print(f"{options.out}: {len(runs)} networks in one; export and evaluate take it as any run")
    return 0


def _joined_evaluations(options: argparse.Namespace) -> int:
    from train.evaluate import evaluation, report
    from train.evaluate.ensemble import join_predictions
    from train.evaluate.predictions import rows_of

    if options.data is None:
        raise InputError(
            "none of these is a run; joining what evaluate wrote needs the data set: give --data DIR"
        )
    predictions, new_patients = join_predictions(options.members, options.data)
    rows = rows_of(predictions, "subjects" if new_patients else "cells")
    title = "Ensemble of " + " and ".join(folder.name for folder in options.members)
    facts = evaluation.how_made(["leukoscope", *sys.argv[1:]])
    report.write(options.out, report.Report(title, rows, predictions, new_patients=new_patients, facts=facts))
    print(report.text(rows, new_patients))
    print(f"{options.out}: report.html, metrics.json, predictions.csv and plots; {NOTICE}", file=sys.stderr)
    return 0


def _evaluate_command(options: argparse.Namespace) -> list[str]:
    """The words that repeat this evaluation."""
    words = ["leukoscope", "evaluate", options.subject, "--data", str(options.data)]
    words += ["--split-file", str(options.split_file)] if options.split_file else []
    return [*words, "--noise", options.noise, "--out", str(options.out)]


def _noise_levels(text: str) -> list[float]:
    """Sigmas with commas between, each once."""
    try:
        levels = [float(level) for level in text.split(",")]
    except ValueError as error:
        raise InputError(f"--noise {text}: not numbers with commas between") from error
    wrong = [level for level in levels if not 0 <= level <= 255]
    if wrong:
        raise InputError(f"--noise {text}: {wrong[0]:g} is not a sigma from 0 to 255 8-bit levels")
    return list(dict.fromkeys(levels))
