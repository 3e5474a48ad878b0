"""What the commands of the host side do with their options."""

import argparse
import json
import logging
import sys
from pathlib import Path

import msgspec

from edge.errors import InputError
from train import dataset as cnmc
from train import recipe as recipes
from train import split as splits

log = logging.getLogger(__name__)


def dataset_verify(options: argparse.Namespace) -> int:
    """`leukoscope dataset verify`; 1 where anything is missing or not as it should be."""
    from train.verify import verify
    from train.verify_report import report_lines, reporter

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
    from train import fit

    if options.resume:
        run = fit.Run(options.out)
        run.recipe()
    else:
        recipe = recipes.load(options.recipe)
        if options.epochs:
            recipe = msgspec.structs.replace(
                recipe, fit=msgspec.structs.replace(recipe.fit, epochs=options.epochs)
            )
        split = splits.split_fold(cnmc.scan(options.data), options.fold, options.split, options.seed)
        settings = {"data": str(options.data.resolve()), "recipe": options.recipe, "weights": options.weights}
        run = fit.Run.create(options.out, recipe, split, settings)
    progress = fit.train(run, options.data, weights=options.weights, limit=options.limit)
    print(f"{options.out}: {progress.stopped}; best epoch {progress.best_epoch}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """`leukoscope evaluate`."""
    from train.evaluation import evaluate_noise_levels, load_scorer

    scorer, split = load_scorer(Path(options.subject))
    if options.split_file:
        split = splits.read(options.split_file)
    if split is None:
        raise InputError(
            f"{options.subject}: name the images to judge with --split-file (its test side is used)"
        )
    try:
        levels = [float(level) for level in options.noise.split(",")]
    except ValueError as error:
        raise InputError(f"--noise {options.noise}: not numbers with commas between") from error
    results = evaluate_noise_levels(scorer, options.data, split, levels)
    if options.json:
        print(json.dumps(results))
        return 0
    for row in results:
        print(
            f"sigma {row['sigma']:4g}  n {row['n']}  accuracy {row['accuracy']:.4f}  AUC {row['auc']:.4f}  "
            f"sensitivity {row['sensitivity']:.4f}  specificity {row['specificity']:.4f}"
        )
    print(f"split by {split.method}; research and second opinion only", file=sys.stderr)
    return 0
