"""`leukoscope adapt` and `leukoscope review`: they read data folders as training does, and need no TensorFlow."""

import argparse
from pathlib import Path
from typing import Any

from edge import settings as settings_file
from edge.errors import InputError, LeukoscopeError
from edge.host.journal import safe_lines
from edge.host.terminal import console
from edge.host.terminal.progress import progress
from edge.laboratory import adapt as adaptation
from edge.laboratory import exchange
from edge.laboratory.cells import Reviewed, ReviewedCell, collect
from edge.laboratory.seen import look
from edge.laboratory.stored import NEGATIVE, POSITIVE
from edge.model.file import ModelFile, read_model
from edge.model.installation.base import base_of
from edge.model.installation.install import of_settings
from edge.model.installation.signature import sign
from edge.model.installed import find_model
from edge.notice import NOTICE
from train.data.cells import Classes
from train.data.cnmc import subject_group
from train.data.dataset import data_root, load


def adapt(options: argparse.Namespace) -> int:
    """`leukoscope adapt`: 0 with a file; 1 without one, if it is not better or the reviews do not suffice.

    Raises:
        LeukoscopeError: too few reviews, one class, contradictions; nothing is written.
    """
    settings = _settings(options)
    own = options.config and not options.model
    base = base_of(of_settings(settings.model) if own else read_model(find_model(options.model)))
    reviewed = _reviewed(options, settings, base)
    black = settings.camera.background == "black"
    with progress("look at the cells", len(reviewed.cells), not options.json) as (step, _):
        seen = look(base, reviewed, black, step, settings.model.threads)
    outcome = adaptation.try_out(seen, reviewed)
    told = adaptation.facts(outcome, base.manifest)
    if outcome.taken:
        written = adaptation.write(base, outcome, seen, options.out)
        if settings.model.key_file:
            written = sign(options.out, Path(settings.model.key_file))
        told |= {"file": str(options.out), "sha256": written.sha256}
    else:
        told["reason"] = outcome.reason()
    _show(told, options)
    return 0 if outcome.taken else 1


def _reviewed(options: argparse.Namespace, settings: settings_file.Settings, base: ModelFile) -> Reviewed:
    if is_database(options.source):
        from edge.laboratory.stored import reviewed_in

        folder = options.pictures or Path(settings.archive.directory)
        return reviewed_in(options.source, folder, base.manifest)
    return of_folder(Path(options.source), base, options.positive)


def review_export(options: argparse.Namespace) -> int:
    """`leukoscope review export`: every reviewed cell into a folder that `train --data` and `adapt --from` take."""
    archive = options.pictures or Path(_settings(options).archive.directory)
    done = exchange.export(options.source, archive, options.to)
    told = {"to": str(options.to), "pictures": dict(done.pictures), "reviews": done.reviews}
    told["without_picture"] = done.without_picture
    counts = ", ".join(f"{number} {label}" for label, number in sorted(done.pictures.items()))
    words = f"{options.to}: {done.reviews} reviews; pictures: {counts or 'none'}"
    console.result(options.json, told, words)
    if not options.json:
        if done.without_picture:
            console.note(f"{done.without_picture} reviewed cells have no picture in {archive}")
        console.note(
            f"train or adapt with it: leukoscope adapt --from {options.to} --out ours.tflite; {NOTICE}"
        )
    return 0


def review_import(options: argparse.Namespace) -> int:
    """`leukoscope review import`: verdicts of such a folder into a database."""
    if not options.folder.is_dir():
        raise InputError(f"{options.folder}: no such folder; leukoscope review export writes one")
    done = exchange.bring_in(
        options.target, options.folder, _sorted_pictures(options.folder), options.reviewer
    )
    told = {"added": dict(done.added), "known": done.known, "not_here": done.strange}
    counts = ", ".join(f"{number} {label}" for label, number in sorted(done.added.items()))
    words = f"added: {counts or 'nothing'}; known before: {done.known}; of cells that are not here: {done.strange}"
    console.result(options.json, told, words)
    if not options.json and done.strange:
        console.note(f"to fit a model to cells of another box: leukoscope adapt --from {options.folder}")
    return 0


def _sorted_pictures(folder: Path) -> list[tuple[Path, str]]:
    """Pictures below folders named all and hem, each with its class."""
    found = []
    for label in (POSITIVE, NEGATIVE):
        for place in sorted(
            path for path in folder.rglob("*") if path.is_dir() and path.name.upper() == label
        ):
            found += [(picture, label) for picture in sorted(place.glob("*.png"))]
    return found


def _settings(options: argparse.Namespace) -> settings_file.Settings:
    return settings_file.load(options.config) if options.config else settings_file.Settings()


def is_database(source: str) -> bool:
    """Whether it is a database's address, and no folder."""
    return "://" in source


def of_folder(folder: Path, base: ModelFile, positive: str | None = None) -> Reviewed:
    """The cells of a data folder or table.

    Args:
        folder: as `leukoscope train --data` takes it.
        base: whose classes hold.
        positive: the name of the positive class there, if it is another one.

    Raises:
        LeukoscopeError: it is no data folder, or its cells do not suffice.
    """
    manifest = base.manifest
    expected = Classes(manifest.positive_label(), manifest.negative_label())
    try:
        data = load(folder, positive, expected)
    except InputError as error:
        if "only the class" in str(error):
            raise LeukoscopeError(f"{error}: review cells of the other one too") from error
        raise
    root = data_root(data)
    # Where nobody tells the patients, folders named by class stand for them: then no specimen is known.
    untold = all(cell.subject.lower() == Path(cell.path).parent.name.lower() for cell in data.cells)
    cells = [
        ReviewedCell(root / cell.path, cell.label == "ALL", "" if untold else subject_group(cell.subject))
        for cell in data.cells
    ]
    return collect(cells, str(folder), (expected.positive, expected.negative), data.notes)


def _show(told: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        console.document(told)
        if not told["taken"]:
            console.error(told["reason"])
        return
    counts = ", ".join(f"{number} {name}" for name, number in told["reviewed"].items())
    print(f"reviewed cells: {counts}; of {told['specimens']} specimens", flush=True)
    where = {
        "specimens": "on specimens that were held back, one part after the other",
        "cells": "on cells that were held back, of specimens that were fitted to as well: new specimens may do worse",
    }[told["held_back"]]
    print(f"{'':14}{'AUC':>20} {'sensitivity':>20} {'specificity':>20}   ({where})")
    for name in ("before", "after"):
        cells = [_with_limits(told[name], figure) for figure in ("auc", "sensitivity", "specificity")]
        print(f"{name:14}{cells[0]:>20} {cells[1]:>20} {cells[2]:>20}")
    changed = ", ".join(f"{number} {way}" for way, number in told["changed"].items())
    print(f"verdicts that change, of {sum(told['reviewed'].values())}: {changed}")
    for note in told["notes"] if is_database(options.source) else ():  # those of a folder were logged
        print(f"note: {safe_lines(note)}")
    if told["taken"]:
        print(f"{told['file']}: sha256 {told['sha256']}; refers below {told['refer_below']:.2f}")
        console.note(f"to use it: leukoscope model install {told['file']}")
    else:
        console.error(told["reason"])
    console.note(NOTICE)


def _with_limits(figures: dict[str, Any], name: str) -> str:
    low, high = figures["intervals"][name]
    return f"{figures[name]:.3f} ({low:.2f}–{high:.2f})"
